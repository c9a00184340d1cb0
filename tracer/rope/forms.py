"""What a function of someone's own takes and returns, and calling it: the ways in which rope code is written."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tracer.errors import BadRequest
from tracer.rope.grids import Sizes
from tracer.rope.rope3d import Rope3D

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

_NAMES = {
    "T": "t frames frame num_frames n_frames latent_frames nt time temporal_size ft",
    "H": "h height rows row num_rows nh latent_height",
    "W": "w width columns column cols num_columns nw latent_width",
    "q": "q query queries xq q_",
    "k": "k key keys xk k_",
    "x": "x xs tensor hidden_states states input inputs qk",
    "cos": "cos freqs_cos cosine cosines cos_table",
    "sin": "sin freqs_sin sine sines sin_table",
    "freqs": "freqs freqs_cis freq_cis cis freqs_complex rope rotary rotary_emb image_rotary_emb rotary_embedding pe "
    "pos_emb position_embeddings table tables cos_sin",
    "sizes": "sizes size grid grid_size grid_sizes shape thw token_grid",
    "text": "text_tokens text_len text_length text_seq_length text_seq_len num_text_tokens n_text txt_len",
}
_ROLES = {name: role for role, names in _NAMES.items() for name in names.split()}

FORMS: dict[str, tuple[tuple[str, ...], ...]] = {
    "table": (("T", "H", "W"), ("sizes",)),
    "apply": (("q", "k", "cos", "sin"), ("x", "cos", "sin"), ("q", "k", "freqs"), ("x", "freqs")),
    "rotate": (("x", "T", "H", "W"), ("q", "k", "T", "H", "W"), ("x", "sizes"), ("q", "k", "sizes")),
}
"""Forms of a function -> what it takes. freqs: complex numbers or (cos, sin); sizes: (T, H, W)."""

_ALLOWED = (
    "it is a table builder f(T, H, W), an application f(q, k, cos, sin), f(x, cos, sin), f(q, k, freqs_cis) or "
    "f(x, freqs_cis), or a whole rotation f(x, T, H, W) or f(q, k, T, H, W)"
)


@dataclass(frozen=True)
class Form:
    """What f is. takes: a role for each argument, in f's order; text: the name of its argument for text tokens."""

    kind: str
    takes: tuple[str, ...]
    text: str | None
    name: str

    @property
    def words(self) -> str:
        """The function as it is called."""
        return f"{self.name}({', '.join((*self.takes, *([self.text] if self.text else [])))})"


def understand(f: Any, form: str | None = None) -> Form:
    """Tell a function's form by the names of its arguments, or by their number where `form` says what it is.

    Raises BadRequest where neither tells.
    """
    name = getattr(f, "__name__", type(f).__name__)
    name = "f" if name == "<lambda>" else name
    if form is not None and form not in FORMS:
        raise BadRequest(f"'{form}' is no form of a rope; it is {', '.join(FORMS)}.")
    if not callable(f):
        raise BadRequest(f"a {type(f).__name__} is no function: {_ALLOWED}.")
    try:
        # A module is called through hooks that take anything: its forward has the names.
        parameters = inspect.signature(getattr(f, "forward", f)).parameters.values()
    except (TypeError, ValueError):
        parameters = ()  # type: ignore[assignment]
    text = next((p.name for p in parameters if _ROLES.get(p.name.lower()) == "text"), None)
    given = [p for p in parameters if p.default is p.empty and p.name != text]
    asked = f"{name}({', '.join(p.name for p in given)})"
    plain = all(p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) for p in given)
    roles = tuple(_ROLES.get(p.name.lower(), "") for p in given)
    if "k" not in roles:
        roles = tuple("x" if r == "q" else r for r in roles)
    for kind, ways in FORMS.items():
        if form in (None, kind) and plain and any(sorted(way) == sorted(roles) for way in ways):
            return Form(kind, roles, text, name)
    fitting = [way for way in FORMS.get(form or "", ()) if len(way) == len(given) and plain]
    if fitting:
        return Form(str(form), fitting[0], text, name)
    hint = (
        "wrap it, as in check_rope(lambda T, H, W: f(...), ...)"
        if form or hasattr(f, "forward") or not plain
        else 'say form="table", "apply" or "rotate", or wrap it, as in check_rope(lambda T, H, W: f(...), ...)'
    )
    raise BadRequest(f"{asked} cannot be told by its arguments: {_ALLOWED}; {hint}.")


class Refused(Exception):
    """The function raised, or gave back something of another shape; the message says what it was given."""


@dataclass(frozen=True)
class Way:
    """One way to hand q, k and tables to f.

    library: torch or numpy. tokens_first: q is (B, S, heads, d), not (B, heads, S, d). table: shape of the tables;
    "S" and "d" stand for sizes, "d/2" for a value for each pair. complex: one complex table. paired: cos and sin as
    one tuple. layout: pairing that tables are laid out for.
    """

    library: str
    tokens_first: bool
    table: tuple[Any, ...] = ()
    complex: bool = False
    paired: bool = False
    layout: str = "interleaved"

    @property
    def words(self) -> str:
        """Shapes as they were handed over."""
        q = "(B, S, heads, d)" if self.tokens_first else "(B, heads, S, d)"
        shape = f"({', '.join(map(str, self.table))})"
        tables = f"complex tables {shape}" if self.complex else f"cos and sin {shape}"
        return f"q {q}" + (f", {tables}" if self.table else "") + f", {self.library}"


_FULL = (("S", "d"), (1, "S", "d"), (1, 1, "S", "d"), (1, "S", 1, "d"), ("S", 1, "d"))
_HALF = tuple(tuple("d/2" if s == "d" else s for s in shape) for shape in _FULL)


def ways(form: Form, rope: Rope3D) -> Iterator[Way]:
    """Every way to try, in the order of how common it is; torch where it is installed."""
    for library in _libraries():
        for first in (False, True):
            if form.kind == "rotate":
                yield Way(library, first)
                continue
            paired = "freqs" in form.takes
            for table in (*_FULL, *_HALF):
                yield Way(library, first, table, paired=paired, layout=rope.pairing)
            if paired:
                for table in _HALF:
                    yield Way(library, first, table, complex=True, layout=rope.pairing)


def _libraries() -> list[str]:
    import importlib.util

    return [name for name in ("torch", "numpy") if importlib.util.find_spec(name)]


@dataclass(frozen=True)
class Rotation:
    """f with a way to call it: turns queries and keys of a whole sequence. text: its text tokens."""

    f: Callable[..., Any]
    form: Form
    way: Way
    rope: Rope3D
    text: int = 0

    def length(self, sizes: Sizes) -> int:
        """Tokens of a sequence."""
        return self.rope.placement.length(sizes[0] * sizes[1] * sizes[2], self.text)

    def __call__(self, q: Floats, k: Floats, sizes: Sizes) -> tuple[Floats, Floats]:
        """Turn q and k, each (heads, L + S, d). Raises Refused."""
        import numpy as np

        given: dict[str, Any] = dict(zip("THW", sizes, strict=True), sizes=sizes)
        if self.form.kind == "apply":
            given |= self._tables(sizes)
        extra = {self.form.text: self.text} if self.form.text else {}
        said = f"{self.way.words} on a grid of {'×'.join(map(str, sizes))}"

        def run(**vectors: Floats) -> list[Floats]:
            handed = {role: self._out(x) for role, x in vectors.items()}
            shape = tuple(next(iter(handed.values())).shape)
            all_of = given | handed
            made = call(self.f, [all_of[role] for role in self.form.takes], extra, said, self.form.name)
            outs = list(made) if isinstance(made, tuple | list) else [made]
            if len(outs) != len(vectors) or any(tuple(getattr(y, "shape", ())) != shape for y in outs):
                shapes = ", ".join(str(tuple(getattr(y, "shape", ()))) for y in outs)
                raise Refused(f"{self.form.name} gave back {shapes or 'nothing'} for {shape} ({said})")
            return [self._back(y) for y in outs]

        if "k" in self.form.takes:
            turned_q, turned_k = run(q=q, k=k)
        else:
            (turned_q,) = run(x=q)
            (turned_k,) = (turned_q,) if k is q else run(x=k)
        if not (np.isfinite(turned_q).all() and np.isfinite(turned_k).all()):
            raise Refused(f"{self.form.name} gave back numbers that are not finite ({said})")
        return turned_q, turned_k

    def _out(self, x: Floats) -> Any:
        import numpy as np

        x = np.ascontiguousarray((x.transpose(1, 0, 2) if self.way.tokens_first else x)[None])
        return _array(x, self.way.library)

    def _back(self, y: Any) -> Floats:
        values = to_numpy(y)[0]
        out: Floats = values.transpose(1, 0, 2) if self.way.tokens_first else values
        return out

    def _tables(self, sizes: Sizes) -> dict[str, Any]:
        from dataclasses import replace
        from typing import cast

        import numpy as np

        angles = self.rope.angles(sizes)
        if "d" in self.way.table:
            cos, sin = replace(self.rope, pairing=cast(Any, self.way.layout)).laid_out(angles)
        else:
            cos, sin = np.cos(angles), np.sin(angles)
        shape = tuple({"S": len(angles), "d": cos.shape[-1], "d/2": cos.shape[-1]}.get(s, s) for s in self.way.table)
        cos, sin = cos.reshape(shape), sin.reshape(shape)
        if self.way.complex:
            return {"freqs": _array(cos + 1j * sin, self.way.library)}
        cos, sin = _array(cos, self.way.library), _array(sin, self.way.library)
        return {"freqs": (cos, sin)} if self.way.paired else {"cos": cos, "sin": sin}


def call(f: Any, arguments: list[Any], extra: dict[str, Any], said: str, name: str) -> Any:
    """What f returns, without gradients. Raises Refused with the exception's first line in place of f's own."""
    import contextlib

    quiet: Any = contextlib.nullcontext()
    if "torch" in _libraries():
        import torch

        quiet = torch.no_grad()
    try:
        with quiet:
            return f(*arguments, **extra)
    except Exception as error:
        lines = str(error).strip().splitlines() or ["no message"]
        raise Refused(f"{name} raised {type(error).__name__}: {lines[0][:200]} ({said})") from error


def to_numpy(x: Any) -> Any:
    """A numpy float64 or complex128 array of a tensor, an array or nested lists."""
    import numpy as np

    if hasattr(x, "detach"):
        x = x.detach().cpu()
        x = (x.to(dtype=_torch_wide(x))).numpy()
    x = np.asarray(x)
    return x.astype(np.complex128 if np.iscomplexobj(x) else np.float64)


def _torch_wide(x: Any) -> Any:
    import torch

    return torch.complex128 if x.is_complex() else torch.float64


def _array(x: Any, library: str) -> Any:
    """In torch float32 or complex64, as models compute; in numpy float64."""
    if library == "numpy":
        return x.copy()
    import numpy as np
    import torch

    return torch.from_numpy(x.astype(np.complex64 if np.iscomplexobj(x) else np.float32))
