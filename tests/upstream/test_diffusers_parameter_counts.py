"""The parameter counts of the published checkpoints, counted on diffusers' own classes without memory.

Numbers: the project's table of checkpoints. They agree with the hub's files where those show their weight:
5b-I2V 11.2502 GB at 2 bytes for each stored element, the shards of 1.5-5B 11.15 GB, HunyuanVideo 25.64 GB.
"""

import pytest
import torch
from diffusers import CogVideoXTransformer3DModel, HunyuanVideoTransformer3DModel

COG_5B = {"num_attention_heads": 48, "num_layers": 42, "use_rotary_positional_embeddings": True}
COG_1_5 = {
    **COG_5B,
    "sample_height": 300,
    "sample_width": 300,
    "sample_frames": 81,
    "patch_size_t": 2,
    "patch_bias": False,
}

COG, HUNYUAN = CogVideoXTransformer3DModel, HunyuanVideoTransformer3DModel

CHECKPOINTS = {
    "THUDM/CogVideoX-2b": (COG, {}, 1_693_783_872, 0),
    "THUDM/CogVideoX-5b": (COG, COG_5B, 5_570_283_072, 0),
    # the learned table is a buffer of 1 x (226 + 17550) x 3072 that is stored, though no Parameter
    "THUDM/CogVideoX-5b-I2V": (
        COG,
        {**COG_5B, "in_channels": 32, "use_learned_positional_embeddings": True},
        5_570_479_680,
        17_776 * 3072,
    ),
    "THUDM/CogVideoX1.5-5B": (COG, COG_1_5, 5_570_676_352, 0),
    "THUDM/CogVideoX1.5-5B-I2V": (
        COG,
        {**COG_1_5, "in_channels": 32, "ofs_embed_dim": 512},
        5_571_594_880,
        0,
    ),
    "hunyuanvideo-community/HunyuanVideo": (HUNYUAN, {}, 12_821_012_544, 0),
    "hunyuanvideo-community/HunyuanVideo-I2V-33ch": (
        HUNYUAN,
        {"in_channels": 33, "guidance_embeds": False, "image_condition_type": "latent_concat"},
        12_810_991_680,
        0,
    ),
    "hunyuanvideo-community/HunyuanVideo-I2V": (
        HUNYUAN,
        {"image_condition_type": "token_replace"},
        12_821_012_544,
        0,
    ),
}


@pytest.mark.parametrize(("cls", "config", "parameters", "stored_buffers"), CHECKPOINTS.values(), ids=CHECKPOINTS)
def test_parameter_count(cls, config, parameters, stored_buffers):
    with torch.device("meta"):
        model = cls(**config)
    assert sum(p.numel() for p in model.parameters()) == parameters
    assert sum(v.numel() for v in model.state_dict().values()) == parameters + stored_buffers
