# %% [markdown]
# # CogVideoX
#
# CogVideoX reads a video as one long row of tokens. This page counts them, from the frames that a person asks
# for to the sequence that every block of the transformer sees.
#
# ## From frames to latent frames
#
# The video autoencoder keeps the first frame and then folds every four frames into one:
# `F = (N - 1) / 4 + 1`, rounded down.
#
# | letter | meaning |
# |---|---|
# | N | frames of the video |
# | F | frames after the autoencoder |

# %%
frames, height, width, text_tokens = 49, 480, 720, 226

latent_frames = (frames - 1) // 4 + 1
latent_height, latent_width = height // 8, width // 8
print(f"{frames} frames of {height}×{width} become {latent_frames} of {latent_height}×{latent_width}")

# %% [markdown]
# ## From latents to tokens
#
# Each patch of 2×2 latent pixels becomes one token. How long is the sequence, with the text in front?
#
# <details markdown="1"><summary>Think first, then open</summary>
#
# `L + F·(H/2)·(W/2)`: the text first, then the video, frame after frame.
#
# </details>

# %%
tokens = latent_frames * (latent_height // 2) * (latent_width // 2)
sequence = text_tokens + tokens

assert sequence == text_tokens + sum(1 for _ in range(latent_frames) for _ in range(30) for _ in range(45))
sequence

# %% [markdown]
# ## The sizes in a table
#
# The next cell has its code folded away: the page shows only what it made.


# %% tags=["hide-input"]
class Demo:
    """A table with two faces: HTML for a page, text for a terminal."""

    rows = (
        ("patch-embed", "B F C H W", f"2 × {latent_frames} × 16 × {latent_height} × {latent_width}"),
        ("concat", "B L+F·(H/2)·(W/2) D", f"2 × {sequence} × 3072"),
        ("attention", "B h L+F·(H/2)·(W/2) d", f"2 × 48 × {sequence} × 64"),
    )

    def _repr_mimebundle_(self, include=None, exclude=None):
        text = "\n".join("  ".join(f"{part:<24}" for part in row).rstrip() for row in self.rows)
        body = "".join(
            "<tr>" + "".join(f"<td><code>{part}</code></td>" for part in row) + "</tr>" for row in self.rows
        )
        head = "<tr><th>stage</th><th>axes</th><th>shape</th></tr>"
        return {"text/plain": text, "text/html": f"<table><thead>{head}</thead><tbody>{body}</tbody></table>"}


Demo()

# %% [markdown]
# ## The same as a tree
#
# Lines are as wide as a terminal; on a phone the box scrolls, the page does not.

# %%
print("patch-embed")
for name, shape in (("text_proj", "B L 4096 → B L D"), ("proj", "B·F C H W → B·F D H/2 W/2")):
    print(f"├─ {name:<12} {shape:<40} {'·' * 20}")
print(f"└─ {'concat':<12} {'B L+F·(H/2)·(W/2) D':<40} {sequence:>20}")
