"""How Frames Work in Hunyuan-GameCraft: the claims of the article, and how each is checked.

GameCraft's own code is not installed. Where a claim is about it, the package's account of that code is measured
(`tracer/gamecraft_frames.py`, `tracer/models/gamecraft.py`, the traces of both), or the VAE whose layout it uses.
Places are those of Tencent-Hunyuan/Hunyuan-GameCraft-1.0 at 07afcd4c.
"""

from __future__ import annotations

from functools import partial

from stored import stored

from claims import _tiny as tiny
from claims._frames_measures import (
    camera_frames_after_a_clip_of_17,
    clips,
    digits,
    faults_of_17,
    fewer,
    first_changed,
    flops,
    frames_of_latents,
    kept_apart,
    megabytes,
    planned,
    pool_sizes,
    pose_counts,
    positions,
    ratios,
    refused_by_ratio,
    rotary,
    rule,
    seen,
    smallest,
    told,
    unchanged,
    unchanged_by_rule,
)
from claims.claim import UNSAID, Article, Claim, Part

ARTICLE = Article(
    key="frames",
    title="How Frames Work in Hunyuan-GameCraft",
    author=None,
    url="https://huggingface.co/spaces/jbilcke-hf/Hunyuan-GameCraft",
    about="A page in English, kept as a file of a Hugging Face Space, on the numbers 33, 34, 37, 66 and 69 in the code "
    "of Hunyuan-GameCraft 1.0, on the names of its VAEs, and on making clips of 17 frames. GameCraft's own code is not "
    "installed here: claims about it are measured on this package's account of that code and on the VAE whose layout "
    "it has. Places are those of Tencent-Hunyuan/Hunyuan-GameCraft-1.0 at 07afcd4c.",
    right="It found the places where a number of frames is written into the code, had the formula of the VAE right, "
    "and asked the question that matters: why these numbers?",
)

VAE = "diffusers 0.42.1, models/autoencoders/autoencoder_kl_hunyuan_video.py, the layout that GameCraft's VAE has"
OVERVIEW, PAPER, MAGIC, WHY = "Overview", "Paper Context", "The Magic Numbers", "Why These Specific Numbers?"
NAMES, V884, V888 = "VAE Naming Convention", "“884” VAE", "“888” VAE"
FORMULAS, START, ON = "Why Different Formulas?", "Image-to-Video Generation", "Video-to-Video Continuation"
CAMERA, CASE = "Camera Network Compression", "Case Study: 17 frames"
OTHERS, ADVICE, MEMORY = "Why Other Frame Counts Are Problematic", "Recommendations", "Memory Implications"
CONSISTENT, END = "Paper-Code Consistency Analysis", "Conclusion"

CLAIMS = (
    # Paper
    Claim(
        "frames/paper-operating-point", PAPER,
        "According to the paper the system runs at 25 frames a second, with clips of 33 frames at 720p.",
        "The repository's README says the same of frames and rate; its sampler writes files at 24 frames a second and "
        "runs at 704×1216.",
        (
            Part("seconds of 33 frames at the 24 a second that are written", UNSAID, 1.375,
                 lambda: clips()[0].frames / min(rule().fps)),
        ),
        source="README.md:123, hymm_sp/sample_batch.py:294",
        unchecked="What a paper says cannot be run. The sentence is quoted in a survey that cites it.",
    ),
    Claim(
        "frames/paper-history-ratios", PAPER,
        "The training mixed histories: 70 % one clip, 5 % several clips, 25 % a single frame.",
        "The repository holds code for sampling only, so nothing there decides it.",
        source="Hunyuan-GameCraft's paper, as quoted in a survey",
        unchecked="The shares belong to the training, whose code is not published.",
    ),
    Claim(
        "frames/paper-results", END,
        "The paper's experiments show that the design beats its alternatives.",
        "Nothing that can be measured here bears on it.",
        unchecked="Quality is judged on trained weights, by the paper's own study.",
    ),
    Claim(
        "frames/uneven-causal-vae", PAPER,
        "The causal VAE treats the first frame otherwise than those after it.",
        "One latent frame stands for the first frame, each later one for four.",
        (
            Part("the first latent frame takes in fewer frames than the next", True, True,
                 lambda: frames_of_latents()[0] < frames_of_latents()[1]),
            Part("frames that come in with each of three latent frames", UNSAID, (1, 4, 4), frames_of_latents),
        ),
        source=VAE,
    ),
    Claim(
        "frames/only-earlier-frames", FORMULAS,
        "Attention is causal, so a frame takes in none that come after it.",
        "Attention and convolutions are causal. The group norms are not: their mean and variance run over all frames "
        "of the clip, so a change of the last frame moves the first latent frame too.",
        (
            Part("the last of nine frames changes the first latent frame, norms set aside", False, False,
                 lambda: first_changed(norms=False)[-1] == 0),
            Part("the last of nine frames changes the first latent frame, with the norms", False, True,
                 lambda: first_changed(norms=True)[-1] == 0),
        ),
        source=VAE,
    ),
    Claim(
        "frames/chunk-by-chunk", PAPER,
        "A video is made chunk after chunk, one for each action, and each chunk is denoised as a whole.",
        "The loop runs once for each action. A later clip sees the latent frames of the one before it.",
        (
            Part("denoising loops for three actions", 3, 3, planned("runs")),
            Part("frames of the video", UNSAID, 99, planned("frames")),
            Part("latent frames of the clip before, in a later clip", UNSAID, 9,
                 lambda: seen("gamecraft-continue") - tiny.latents(33)[0]),
        ),
        source="hymm_sp/sample_inference.py:516-522",
    ),
    # The numbers
    Claim(
        "frames/an-action-is-33-frames", MAGIC,
        "One action gives 33 frames, at 25 a second a clip of 1.32 seconds.",
        "The counts are right. The files that the sampler writes run at 24 a second, where a clip lasts a little "
        "longer.",
        (
            Part("frames of one action", 33, 33, lambda: clips()[0].frames),
            Part("seconds at 25 frames a second", 1.32, 1.32, lambda: clips()[0].frames / max(rule().fps)),
        ),
        source="hymm_sp/sample_inference.py:211, 516-522",
    ),
    Claim(
        "frames/five-numbers", MAGIC,
        "33, 34, 37, 66 and 69 are written into the code and are no accident.",
        "They are not. 34 and 66 are the smallest counts whose formula gives 10 and 18 latent frames; 37 and 69 are "
        "the smallest that give as many rotary positions.",
        (
            Part("count told for latents, after a picture", 34, 34, lambda: smallest(told, seen("gamecraft"))),
            Part("count told for latents, after a clip", 66, 66, lambda: smallest(told, seen("gamecraft-continue"))),
            Part("count told for positions, after a picture", 37, 37, lambda: smallest(rotary, seen("gamecraft"))),
            Part("count told for positions, after a clip", 69, 69,
                 lambda: smallest(rotary, seen("gamecraft-continue"))),
        ),
        source="hymm_sp/sample_inference.py:524-527, 612-615",
    ),
    Claim(
        "frames/34-latent-frames", START,
        "After a picture, 34 frames lie in the latent space: 33 generated and the picture.",
        "10 latent frames lie there, one of the picture and nine of the clip. No tensor has 34 frames: the number is "
        "only fed to a formula.",
        (Part("frames in the latent space", 34, 10, lambda: seen("gamecraft")),),
        source="hymm_sp/diffusion/pipelines/pipeline_hunyuan_video_game.py:885-890",
    ),
    Claim(
        "frames/66-latent-frames", ON,
        "When a video is continued, 66 frames lie in the latent space.",
        "18 latent frames lie there. No tensor has 66 frames.",
        (Part("frames in the latent space", 66, 18, lambda: seen("gamecraft-continue")),),
        source="hymm_sp/diffusion/pipelines/pipeline_hunyuan_video_game.py:885-890",
    ),
    Claim(
        "frames/one-more-for-the-picture", WHY,
        "The picture that a first clip starts from adds one to its frames.",
        "Counted in latent frames it does: 9 of the clip, and 1 of the picture.",
        (Part("latent frames beyond those of 33 frames", 1, 1, lambda: seen("gamecraft") - tiny.latents(33)[0]),),
    ),
    Claim(
        "frames/continuing-doubles", WHY,
        "Continuing a video doubles the length: the chunk before is there as context.",
        "A later clip sees twice the latent frames of one clip, and the mask marks the first half as history.",
        (Part("clips' worth of latent frames", 2, 2, lambda: seen("gamecraft-continue") // tiny.latents(33)[0]),),
        source="hymm_sp/diffusion/pipelines/pipeline_hunyuan_video_game.py:913-933, 958-965",
    ),
    Claim(
        "frames/three-more-positions", WHY,
        "Rotary positions need three frames more than the latents, for alignment: 37 = 34 + 3 and 69 = 66 + 3.",
        "There are exactly as many positions as latent frames. The two formulas, (n − 2)//4 + 2 and (n − 1)//4 + 1, "
        "need inputs that differ by 3 to give the same result; nothing is aligned.",
        (
            Part("positions beyond the latent frames, after a picture", 3, 0,
                 lambda: positions("gamecraft") - seen("gamecraft")),
            Part("positions beyond the latent frames, after a clip", 3, 0,
                 lambda: positions("gamecraft-continue") - seen("gamecraft-continue")),
            Part("by how much the smallest inputs for 2 to 40 latent frames differ", UNSAID, (3,),
                 lambda: tuple(sorted({smallest(rotary, n) - smallest(told, n) for n in range(2, 41)}))),
        ),
        source="hymm_sp/sample_inference.py:411-417, "
        "hymm_sp/diffusion/pipelines/pipeline_hunyuan_video_game.py:885-890",
    ),
    # VAEs
    Claim(
        "frames/digits-of-the-name", NAMES,
        "Of the three digits in a VAE's name the first stands for time, the second for height, the third for width.",
        "884 would then shrink time by 8 and width by 4. It is 8 by 8 in space, and 4 in time: the last digit.",
        (
            Part("digit of 884 that is the ratio in time", ("first",), ("third",), lambda: digits(ratios()[0])),
            Part("digits of 884 that are the ratio in space", ("second", "third"), ("first", "second"),
                 lambda: digits(ratios()[1])),
        ),
        source="HunyuanVideo's README.md:170; " + VAE,
    ),
    Claim(
        "frames/16c", NAMES,
        "16c in the name means 16 latent channels.",
        "The name is read for it, and the model's output has as many.",
        (Part("latent channels", 16, 16, lambda: stored("gamecraft").root.output.sizes[1]),),
        source="hymm_sp/config.py:148-153",
    ),
    Claim(
        "frames/884-ratios", V884,
        "The 884 VAE makes one latent frame of four frames, and shrinks rows and columns eight times.",
        "Right, the first frame apart, and at odds with the article's own reading of the digits.",
        (
            Part("frames to a latent frame", 4, 4, lambda: ratios()[0]),
            Part("rows and columns to one", (8, 8), (8, 8), lambda: ratios()[1:]),
        ),
        source=VAE,
    ),
    Claim(
        "frames/33-are-9", V884,
        "33 frames become (33 − 1)/4 + 1 = 9 latent frames.",
        "Encoded by the real class.",
        (Part("latent frames of 33 frames", 9, 9, lambda: tiny.latents(33)[0]),),
        source=VAE,
    ),
    Claim(
        "frames/34-by-the-formula", V884,
        "The special case of the pipeline turns 34 into (34 − 2)/4 + 2 = 9.",
        "The formula gives 10. The article's 9 is what the VAE would make of one clip of 34 frames, which never "
        "reaches it.",
        (
            Part("(34 − 2)/4 + 2", 9, 10, lambda: told(34)),
            Part("latent frames that the VAE makes of 34 frames", UNSAID, 9, lambda: tiny.latents(34)[0]),
        ),
        source="hymm_sp/diffusion/pipelines/pipeline_hunyuan_video_game.py:885-890",
    ),
    Claim(
        "frames/66-by-the-formula", V884,
        "The same special case turns 66 into (66 − 2)/4 + 2 = 17.",
        "The formula gives 18, two clips of 9. The article's 17 is what the VAE would make of one clip of 66 frames.",
        (
            Part("(66 − 2)/4 + 2", 17, 18, lambda: told(66)),
            Part("latent frames that the VAE makes of 66 frames", UNSAID, 17, lambda: tiny.latents(66)[0]),
        ),
        source="hymm_sp/diffusion/pipelines/pipeline_hunyuan_video_game.py:885-890",
    ),
    Claim(
        "frames/4n-plus-1-required", V884,
        "The VAE needs a count of frames that is a multiple of 4, plus 1.",
        "It takes any count and drops the rest without a word. The pipeline's own check is commented out.",
        (
            Part("refuses 34 frames", True, False, lambda: not tiny.takes(34)),
            Part("refuses 35 frames", True, False, lambda: not tiny.takes(35)),
            Part("frames that come back of 34", UNSAID, 33, partial(tiny.there_and_back, 34)),
        ),
        source="hymm_sp/diffusion/pipelines/pipeline_hunyuan_video_game.py:443-449; " + VAE,
    ),
    Claim(
        "frames/4n-plus-1-or-2", END,
        "The 884 VAE requires counts of the form 4n + 1 or 4n + 2.",
        "It requires nothing. In this system it only ever sees 1 frame or 33; 34 and 66 never reach it. Counts that "
        "come back whole are 4n + 1.",
        (
            Part("remainders by 4 of the counts up to 24 that are taken", (1, 2), (0, 1, 2, 3),
                 lambda: tuple(sorted({n % 4 for n in range(1, 25) if tiny.takes(n)}))),
            Part("remainders by 4 of those that come back whole", UNSAID, (1,),
                 lambda: tuple(sorted({n % 4 for n in unchanged(range(1, 25))}))),
        ),
        source="hymm_sp/sample_batch.py:220, 226; " + VAE,
    ),
    Claim(
        "frames/888-arithmetic", V888,
        "An 888 VAE makes 5 latent frames of 33, and 9 of 65.",
        "Its formula is in the pipeline, and the arithmetic holds.",
        (
            Part("latent frames of 33", 5, 5, partial(told, 33, "888-16c-hy0801")),
            Part("latent frames of 65", 9, 9, partial(told, 65, "888-16c-hy0801")),
        ),
        source="hymm_sp/diffusion/pipelines/pipeline_hunyuan_video_game.py:885-890",
    ),
    Claim(
        "frames/888-is-an-alternative", V888,
        "The project can use an 888 VAE instead.",
        "No such VAE is in its list of paths, and the code of the rotary positions has no branch for it: positions and "
        "latent frames would not match. diffusers' class of this VAE refuses 8 in time, too.",
        (
            Part("as many positions as latent frames, after a picture", True, False,
                 lambda: rotary(37, "888-16c-hy0801") == told(34, "888-16c-hy0801")),
            Part("positions and latent frames, after a picture", UNSAID, (37, 5),
                 lambda: (rotary(37, "888-16c-hy0801"), told(34, "888-16c-hy0801"))),
            Part("diffusers' class refuses a ratio of 8 in time", UNSAID, True, partial(refused_by_ratio, 8)),
        ),
        source="hymm_sp/constants.py:40-43, hymm_sp/vae/__init__.py:41, hymm_sp/sample_inference.py:414-417",
    ),
    Claim(
        "frames/other-names", "No Compression VAE",
        "With a VAE of any other name, frames are not compressed in time.",
        "Both formulas then hand the count through.",
        (Part("latent frames and positions of 33", (33, 33), (33, 33), lambda: (told(33, "vae"), rotary(33, "vae"))),),
        source="hymm_sp/diffusion/pipelines/pipeline_hunyuan_video_game.py:885-890, "
        "hymm_sp/sample_inference.py:411-417",
    ),
    # CameraNet
    Claim(
        "frames/compress-time-splits", CAMERA,
        "CameraNet takes 66 or 34 frames for two segments; it keeps the first frame of each and averages the others.",
        "It averages them in pairs.",
        (
            Part("frames of 66 that come through as they are", (0, 33), (0, 33), partial(kept_apart, 66)),
            Part("frames of 34 that come through as they are", (0, 17), (0, 17), partial(kept_apart, 34)),
            Part("frames in each average", UNSAID, (2,), partial(pool_sizes, 66)),
        ),
        source="hymm_sp/modules/cameranet.py:124-174",
    ),
    Claim(
        "frames/two-modes-confirmed", CONSISTENT,
        "That CameraNet treats 34 and 66 frames apart shows the two ways of generating at work.",
        "Neither count ever arrives. Poses come as 33, with 4 or 33 empty ones for the history, each compressed alone. "
        "34 is in the test for the second halving of 66.",
        (
            Part("34 or 66 arrive in runs of both kinds", True, False, lambda: bool({34, 66} & set(pose_counts()))),
            Part("counts that arrive, in the first halving and the second", UNSAID, (2, 4, 17, 33), pose_counts),
        ),
        source="hymm_sp/modules/models.py:571-579, hymm_sp/modules/cameranet.py:124-174",
    ),
    # Clips of 17
    Claim(
        "frames/17-is-half", CASE,
        "17 frames are exactly half as long, 0.68 seconds in place of 1.32.",
        "The seconds are right, and they are not half of one another.",
        (
            Part("17 frames as a share of 33", 0.5, 17 / 33, lambda: clips(17)[0].frames / clips()[0].frames),
            Part("seconds at 25 frames a second", (0.68, 1.32), (0.68, 1.32),
                 lambda: tuple(c[0].frames / max(rule().fps) for c in (clips(17), clips()))),
        ),
    ),
    Claim(
        "frames/17-and-other-counts", CASE,
        "17 frames are 5 latent frames, 21 are 6, 25 are 7; with an 888 VAE 17 are 3 and 25 are 4.",
        "All right.",
        (
            Part("latent frames of 17, 21 and 25", (5, 6, 7), (5, 6, 7),
                 lambda: tuple(tiny.latents(n)[0] for n in (17, 21, 25))),
            Part("the same of 17 and 25 by the 888 formula", (3, 4), (3, 4),
                 lambda: tuple(told(n, "888-16c-hy0801") for n in (17, 25))),
        ),
        source=VAE,
    ),
    Claim(
        "frames/numbers-for-17", CASE,
        "For clips of 17 the numbers become 18 and 34 for the latents, 21 and 37 for the positions.",
        "These are the numbers to tell: the smallest for 6 and 10 latent frames.",
        (
            Part("counts for latents", (18, 34), (18, 34),
                 lambda: tuple(smallest(told, n) for n in (tiny.latents(17)[0] + 1, 2 * tiny.latents(17)[0]))),
            Part("counts for positions", (21, 37), (21, 37),
                 lambda: tuple(smallest(rotary, n) for n in (tiny.latents(17)[0] + 1, 2 * tiny.latents(17)[0]))),
        ),
    ),
    Claim(
        "frames/enough-changes-for-17", CASE,
        "To make clips of 17, those numbers, the length of the poses and CameraNet's test have to change.",
        "They have to, and it is not enough. Behind a picture there are 6 latent frames: no branch makes camera "
        "features for them, and half of them count as history. Two clips have 10, which the code takes for a picture "
        "and a clip: it makes 6 camera frames and marks 1 frame as history.",
        (
            Part("what is left to go wrong", 0, 4, faults_of_17),
            Part("camera frames for the 10 latent frames of two clips", 10, 6, camera_frames_after_a_clip_of_17),
        ),
        source="hymm_sp/modules/models.py:571-579, "
        "hymm_sp/diffusion/pipelines/pipeline_hunyuan_video_game.py:913-933, hymm_sp/sample_inference.py:511, 520",
    ),
    Claim(
        "frames/17-is-faster", CASE,
        "Shorter sequences are processed faster.",
        "One pass behind a picture takes fewer operations, and by more than the frames fall: attention grows with the "
        "square of the tokens. Seconds depend on the machine.",
        (
            Part("a pass takes fewer FLOPs", True, True, lambda: flops(17) < flops(33)),
            Part("share of the FLOPs", UNSAID, 0.45, lambda: flops(17) / flops(33), within=0.01),
        ),
    ),
    Claim(
        "frames/17-saves-memory", CASE,
        "17 frames need about 48 % less GPU memory.",
        "That is the share by which the frames fall. The latent frames fall less, and the weights do not shrink at "
        "all.",
        (
            Part("share by which frames fall", UNSAID, 16 / 33, lambda: fewer(clips()[0].frames, clips(17)[0].frames)),
            Part("share by which latent frames fall, after a picture", UNSAID, 0.4,
                 lambda: fewer(clips()[0].latents, clips(17)[0].latents)),
            Part("share by which latent frames fall, after a clip", UNSAID, 8 / 18,
                 lambda: fewer(clips()[1].latents, clips(17)[1].latents)),
        ),
        unchecked="Memory in use depends on the machine, offloading and attention; no GPU runs the published weights "
        "here.",
    ),
    Claim(
        "frames/18-saves-memory", MEMORY,
        "18 frames would use about 46 % less memory.",
        "The frames fall by a little less than that, the latent frames by less again: 18 frames encode as 17 do.",
        (
            Part("share by which frames fall", UNSAID, 15 / 33, lambda: fewer(clips()[0].frames, 18)),
            Part("share by which latent frames fall", UNSAID, 4 / 9,
                 lambda: fewer(tiny.latents(33)[0], tiny.latents(18)[0])),
        ),
        unchecked="Memory in use depends on the machine, offloading and attention; no GPU runs the published weights "
        "here.",
    ),
    Claim(
        "frames/85-megabytes", MEMORY,
        "A frame at 704×1216 in FP16 takes about 85 MB.",
        "85 MB is what all 33 frames take together, at one byte a number.",
        (
            Part("megabytes of one RGB frame in FP16", 85, 5.136384, partial(megabytes, 1, "float16"), within=0.01),
            Part("megabytes of 33 frames at a byte a number", UNSAID, 84.750336, partial(megabytes, 33, "uint8")),
        ),
    ),
    Claim(
        "frames/17-quality", CASE,
        "Clips of 17 frames would look worse and move less smoothly, since the model was not trained on them.",
        "Likely, and a matter of trained weights.",
        unchecked="It takes the published weights, changed code and people who watch the result.",
    ),
    # Other counts
    Claim(
        "frames/18-19-20", OTHERS,
        "18, 19 and 20 frames do not work: less one and divided by 4 they give 4.25, 4.5 and 4.75.",
        "The quotients are right. The VAE takes such counts all the same, rounds down and gives 17 frames back.",
        (
            Part("quotients", (4.25, 4.5, 4.75), (4.25, 4.5, 4.75),
                 lambda: tuple((n - 1) / ratios()[0] for n in (18, 19, 20))),
            Part("the VAE refuses them", (True,) * 3, (False,) * 3,
                 lambda: tuple(not tiny.takes(n) for n in (18, 19, 20))),
            Part("frames that come back", UNSAID, (17, 17, 17),
                 lambda: tuple(tiny.there_and_back(n) for n in (18, 19, 20))),
        ),
        source=VAE,
    ),
    Claim(
        "frames/compatible-counts", ADVICE,
        "Counts that suit the 884 VAE are 17, 21, 25, 29, 33, 37; those for an 888 VAE are 17, 25, 33, 41.",
        "These are the counts that come back as they went in.",
        (
            Part("counts from 17 to 37 that come back whole", (17, 21, 25, 29, 33, 37), (17, 21, 25, 29, 33, 37),
                 lambda: unchanged(range(17, 38))),
            Part("counts from 17 to 41 that would, at 8 in time", (17, 25, 33, 41), (17, 25, 33, 41),
                 partial(unchanged_by_rule, "888-16c-hy0801", range(17, 42))),
        ),
        source=VAE,
    ),
    Claim(
        "frames/18-needs-another-vae", END,
        "To make 18 frames, the VAE would have to be built differently.",
        "The VAE takes 18 frames as it is, but makes 5 latent frames of them, which decode to 17. No weights are "
        "needed to see that; whether the transformer would have to be trained anew is another question.",
        (
            Part("the VAE as it is refuses 18 frames", True, False, lambda: not tiny.takes(18)),
            Part("latent frames of 18", UNSAID, 5, lambda: tiny.latents(18)[0]),
        ),
        source=VAE,
    ),
    Claim(
        "frames/33-fixed-by-training", END,
        "33 frames are the unit that training and data set have fixed.",
        "The code has 33 written in many places, which fits.",
        source="hymm_sp/sample_inference.py:211, 511, 520",
        unchecked="The data set and the training are not published.",
    ),
    Claim(
        "frames/sample-n-frames", CONSISTENT,
        "sample_n_frames = 33 runs through the whole code.",
        "It is the default of an option that is handed on and then not used, since the line that would is commented "
        "out; where it counts, 33 is written out.",
        source="hymm_sp/sample_inference.py:505, 511, 520",
        unchecked="It is about lines of GameCraft's own code, which is not installed; the places are named.",
    ),
    Claim(
        "frames/consistent", CONSISTENT,
        "Article, paper and code agree with one another.",
        "The formulas are those of the code, but the results given for them are not what they give, and the article's "
        "rule for names contradicts its own ratios.",
        (
            Part("the special formula gives the article's 9 and 17", True, False,
                 lambda: (told(34), told(66)) == (9, 17)),
            Part("the first digit of 884 is the 4 to 1 in time", True, False, lambda: "first" in digits(ratios()[0])),
        ),
    ),
)  # fmt: skip
