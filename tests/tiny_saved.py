"""A tiny random CogVideoX pipeline with a text encoder and a tokenizer, written by save_pretrained."""

import diffusers
import torch
import transformers
from tiny_pipelines import tiny_cogvideox


def saved(folder):
    """Write it into a folder, and return that."""
    words = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁a", -1.0), ("▁red", -1.0)]
    text = transformers.T5Config(
        vocab_size=8, d_model=tiny_cogvideox.TEXT_DIM, d_kv=4, d_ff=8, num_layers=1, num_heads=2
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        pipe = diffusers.CogVideoXPipeline(
            tokenizer=transformers.T5Tokenizer(vocab=words, extra_ids=0),
            text_encoder=transformers.T5EncoderModel(text),
            vae=tiny_cogvideox.tiny_vae(),
            transformer=tiny_cogvideox.tiny("2b", sample_height=2, sample_width=2, max_text_seq_length=226),
            scheduler=diffusers.CogVideoXDDIMScheduler(prediction_type="v_prediction"),
        )
    pipe.save_pretrained(folder)
    return folder
