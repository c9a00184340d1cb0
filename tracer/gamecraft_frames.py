"""Frame arithmetic of Hunyuan-GameCraft 1.0: the numbers 33, 34, 37, 66 and 69, and what hangs on them.

Each action makes a clip of 33 frames. The first clip starts from a picture, the next from the clip before it;
the latent frames of both lie one after the other, each clip beginning with a latent frame of its own. Places
are those of Tencent-Hunyuan/Hunyuan-GameCraft-1.0 at commit 07afcd4c.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from tracer.errors import BadRequest
from tracer.frame_steps import Clip, Line, State, Vae, ceil, counted
from tracer.frames import FrameRule

CODE = "884-16c-hy0801"
CHUNK = 33
ORIGIN = "Tencent-Hunyuan/Hunyuan-GameCraft-1.0 at 07afcd4c"
_SAMPLE = "hymm_sp/sample_inference.py"
_PIPELINE = "hymm_sp/diffusion/pipelines/pipeline_hunyuan_video_game.py"
_MODEL = "hymm_sp/modules/models.py"
_CAMERA = "hymm_sp/modules/cameranet.py"
_BATCH = "hymm_sp/sample_batch.py"


def latent_count(n: int, code: str = CODE) -> int:
    """Latent frames that the pipeline makes of a frame count it is told (pipeline, lines 885-890).

    (n - 2)//4 + 2 for an 884 VAE: two clips, each with a first latent frame of its own. (n - 1)//8 + 1 for 888,
    n for any other.
    """
    if "884" in code:
        return (n - 2) // 4 + 2
    return (n - 1) // 8 + 1 if "888" in code else n


def rope_frames(n: int, code: str = CODE) -> int:
    """Positions in time of a frame count (sample_inference.py, lines 411-417): 888 has no branch of its own."""
    return (n - 1) // 4 + 1 if "884" in code else n


def count_for(latents: int) -> int:
    """The smallest count that `latent_count` makes that many latent frames of: 34 for 10, 66 for 18."""
    return 4 * (latents - 2) + 2


def rope_count_for(latents: int) -> int:
    """The smallest count that `rope_frames` makes that many positions of: 37 for 10, 69 for 18."""
    return 4 * (latents - 1) + 1


def compress_time(n: int) -> int:
    """Frames that CameraNet's compress_time leaves of n (cameranet.py, lines 124-174).

    66 and 34 are taken for two clips: each half keeps its first frame and averages the others in pairs. An odd
    count keeps the first frame and averages the rest; an even one averages all.
    """
    if n in (66, 34):
        return 2 * (1 + (n // 2 - 1) // 2)
    return 1 + (n - 1) // 2 if n % 2 else n // 2


def camera_frames(poses: int) -> int:
    """Latent frames of CameraNet for that many poses: compress_time runs twice. 33 -> 17 -> 9."""
    return compress_time(compress_time(poses))


def places(chunk: int, vae: Vae) -> tuple[Line, ...]:
    """Where the code has a number of its 33 frames written out, and what it would have to be for another count."""
    before, after = vae.latents(CHUNK), vae.latents(chunk)
    (start, on), (new_start, new_on) = (before + 1, 2 * before), (after + 1, 2 * after)
    pooled = compress_time(CHUNK), compress_time(chunk)
    numbers = (
        ("Poses of an action", f"{CHUNK}", f"{chunk}", f"{_SAMPLE}:211"),
        ("Poses made into rays", f"{CHUNK}", f"{chunk}", f"{_SAMPLE}:511, 520"),
        ("Count told after a picture", f"{count_for(start)}", f"{count_for(new_start)}", f"{_SAMPLE}:525"),
        ("Count told after a clip", f"{count_for(on)}", f"{count_for(new_on)}", f"{_SAMPLE}:527"),
        ("Rotary count after a picture", f"{rope_count_for(start)}", f"{rope_count_for(new_start)}", f"{_SAMPLE}:613"),
        ("Rotary count after a clip", f"{rope_count_for(on)}", f"{rope_count_for(new_on)}", f"{_SAMPLE}:615"),
        ("Latent frames that mean a picture", f"{start}", f"{new_start}", f"{_PIPELINE}:913-933"),
        ("Latent frames with camera features", f"{on}, {before}, {start}", f"{new_on}, {after}, {new_start}",
         f"{_MODEL}:571-579"),
        ("Pose counts taken for two clips", f"{2 * CHUNK}, {2 * pooled[0]}", f"{2 * chunk}, {2 * pooled[1]}",
         f"{_CAMERA}:124-174"),
        ("Frames encoded at the start", f"{CHUNK}", f"{chunk}", f"{_BATCH}:220, 226"),
    )  # fmt: skip
    return tuple(Line(f"{what}: {old} would have to be {new}.", where) for what, old, new, where in numbers)


def camera_branch(latents: int, poses: int) -> int | None:
    """Camera frames that the transformer lays over so many latent frames; None where no branch is for them."""
    made = camera_frames(poses)
    return {18: 2 * made, 9: made, 10: camera_frames(4) + made}.get(latents)


def faults(chunk: int, vae: Vae) -> tuple[Line, ...]:
    """What goes wrong with clips of that many frames when only the counts told are changed."""
    own = vae.latents(chunk)
    out = []
    for name, latents, history in (("After a picture", own + 1, 1), ("After a clip", 2 * own, own)):
        made = camera_branch(latents, chunk)
        if made is None:
            text = (
                f"{name}: no branch is for {latents} latent frames, so camera features stay unset: UnboundLocalError."
            )
            out.append(Line(text, f"{_MODEL}:571-579"))
        elif made != latents:
            text = f"{name}: the branch for {latents} latent frames makes {made} camera frames, and the sum fails."
            out.append(Line(text, f"{_MODEL}:571-579"))
        marked = 1 if latents == 10 else latents // 2
        if marked != history:
            reason = "10 means a picture to it" if marked == 1 else "it takes the first half"
            is_or_are = "is" if history == 1 else "are"
            text = (
                f"{name}: of {latents} latent frames the mask marks {marked} as history, where {history} {is_or_are}: "
                f"{reason}."
            )
            out.append(Line(text, f"{_PIPELINE}:913-933"))
    return tuple(out)


@dataclass(frozen=True)
class Actions:
    """A clip for each action: the first after a picture, each later one after the clip before it."""

    vae: Vae
    chunk: int = CHUNK

    def of_chunk(self, frames: int) -> Actions:
        """The same with clips of another length. Raises BadRequest for one that makes a single latent frame."""
        if self.vae.latents(frames) < 2:
            least = self.vae.frames(2)
            raise BadRequest(
                f"--chunk {frames} is not possible: a clip is two latent frames at least, {least} frames; the "
                f"published one is {CHUNK}."
            )
        return replace(self, chunk=frames)

    def __call__(self, state: State) -> State:
        """The state with its clips."""
        actions, own = ceil(state.frames, self.chunk), self.vae.latents(self.chunk)
        made = self.vae.frames(own)
        clips = [self._clip("after a picture", own + 1, made, 1)]
        if actions > 1:
            clips.append(self._clip("after a clip", 2 * own, made, actions - 1))
        poses = compress_time(self.chunk)
        camera = compress_time(poses)
        state = state.say(
            f"An action makes {self.chunk} frames, whatever is asked: {counted(state.frames, 'frame')} take "
            f"{counted(actions, 'action')}.",
            f"{_SAMPLE}:516-522",
        )
        state = state.say(
            f"A clip is ({self.chunk} - 1)//{self.vae.temporal} + 1 = {own} latent frames"
            + (f", which decode to {made} frames." if made != self.chunk else "."),
            f"{_PIPELINE}:1089-1107",
        )
        for clip, how in zip(clips, (f"1 of the picture and {own}", f"{own} of the clip before and {own}"),
                             strict=False):  # fmt: skip
            state = state.say(
                f"{clip.name.capitalize()} the transformer sees {clip.latents} latent frames, {how}. The code is told "
                f"{clip.count}, the smallest n whose (n - 2)//4 + 2 is {clip.latents}; no tensor has {clip.count} "
                "frames.",
                f"{_PIPELINE}:885-890",
            )
            state = state.say(
                f"Its rotary positions are told {clip.rope_count} = 4·{clip.latents - 1} + 1, the smallest n whose "
                f"(n - 1)//4 + 1 is {clip.latents}. That the two differ by 3 is what the formulas differ by.",
                f"{_SAMPLE}:411-417",
            )
        state = state.say(
            f"CameraNet averages {self.chunk} poses in time, twice: {self.chunk} -> {poses} -> {camera}.",
            f"{_CAMERA}:124-174",
        )
        breaks = () if self.chunk == CHUNK else (*faults(self.chunk, self.vae), *places(self.chunk, self.vae))
        seen = max(clip.latents for clip in clips)
        return replace(
            state, frames=made * actions, latents=own, seen=seen, runs=actions, clips=tuple(clips), breaks=breaks
        )

    def _clip(self, name: str, latents: int, frames: int, times: int) -> Clip:
        return Clip(name, latents, latents, frames, count_for(latents), rope_count_for(latents), times)


def frame_rule(code: str = CODE) -> FrameRule:
    """The rule of GameCraft's sampler: clips of 33 frames, written at 24 frames a second (its paper says 25)."""
    vae = Vae.parse(code)
    return FrameRule(vae, (Actions(vae),), by_action=True, chunk_field="clip_frames", fps=(24, 25), origin=ORIGIN)
