# %% [markdown]
# # Rotary positions in three dimensions
#
# Attention sees a set. It has no idea which token came from which frame, row or column; something has to tell it. Most
# video transformers tell it by *turning*: before a query meets a key, both are rotated by angles that depend on where
# their tokens stand. This page takes that rotation apart, for the models as published.
#
# ## Two numbers and an angle
#
# Take two numbers of a query as a point in the plane, and turn the point by position times frequency. Turn the key's
# two numbers in the same way. Their product then depends on how far apart the two stand, not on where:
#
# $$\langle R(m\omega)\,q,\; R(n\omega)\,k\rangle = \langle q,\; R((n - m)\omega)\,k\rangle$$

# %%
import numpy as np


def turned(x, angle):
    c, s = np.cos(angle), np.sin(angle)
    return np.array([c * x[0] - s * x[1], s * x[0] + c * x[1]])


q, k, omega = np.array([1.0, 0.5]), np.array([0.3, -2.0]), 0.7
for m, n in ((0, 3), (5, 8), (100, 103)):
    print(f"places {m:3} and {n:3}: {turned(q, m * omega) @ turned(k, n * omega):.12f}")

# %% [markdown]
# Turning changes no lengths, needs no parameters, and can be undone by turning back. That is the whole mechanism. What
# differs between models is the bookkeeping: which numbers of a head make a pair, which axis turns it, how fast, from
# which position, and which tokens are turned at all. Weights are trained with one answer to each, and work with no
# other.
#
# ## A head is split between frame, row and column
#
# <details markdown="1"><summary>CogVideoX has heads of 64 numbers. How would you share them between three axes?</summary>
#
# A third each does not come out in pairs: 64 = 3·21 + 1. Two answers are in use, a quarter for the frame and three
# eighths each for row and column, or everything rounded down to sixths with the rest for the frame. HunyuanVideo
# simply writes its three numbers into the config.
#
# </details>

# %%
from tracer import rope

for name in ("cogvideox-5b", "hunyuanvideo", "wan2.1-t2v-14b", "allegro", "six-way-64", "six-way-192"):
    r = rope.published(name)
    print(f"{name:16} {r.head_dim:3} = {' + '.join(map(str, r.split)):14} theta {r.theta:g}")
    assert sum(r.split) == r.head_dim

# %% [markdown]
# The two rules meet at no head size that is used, so a table made by one is useless to weights trained with the other:

# %%
from tracer.rope.variants import quarter, six_way

for d in (64, 128, 192):
    print(f"d = {d:3}: quarters and eighths {quarter(d)}, sixths {six_way(d)}")

# %% [markdown]
# ## From fast to slow
#
# Within an axis of $n$ numbers the $k$-th pair turns at $\theta^{-2k/n}$ radians for each position. Mind the $n$: it is
# the axis' share, not the whole head, so each axis has its own range from one radian down to nearly nothing. A fast
# pair tells neighbours apart and repeats soon; a slow one tells far from near.

# %%
hunyuan = rope.published("hunyuanvideo")
for axis, waves, places in zip(("frame", "row", "column"), hunyuan.wavelengths(), hunyuan.trained):
    whole = sum(w <= places for w in waves)
    print(
        f"{axis:6} {len(waves)} pairs, {waves[0]:.1f} to {waves[-1]:.0f} positions for a turn; "
        f"{whole} go round within {places}"
    )

# %% [markdown]
# FIGURE bands
