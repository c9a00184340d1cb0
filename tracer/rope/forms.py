"""What a function of someone's own takes and returns, and calling it: the ways in which rope code is written."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from math import prod
from typing import TYPE_CHECKING, Any, cast

from tracer.errors import BadRequest
from tracer.rope.grids import Sizes
from tracer.rope.rope3d import Rope3D

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Complexes = NDArray[np.complex128]

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
    "coordinates": "coordinates coords positions position_ids pos_ids ids img_ids",
    "text": "text_tokens text_len text_length text_seq_length text_seq_len num_text_tokens n_text txt_len",
}
_ROLES = {name: role for role, names in _NAMES.items() for name in names.split()}

FORMS: dict[str, tuple[tuple[str, ...], ...]] = {
    "table": (("T", "H", "W"), ("sizes",)),
    "positions": (("coordinates",),),
    "apply": (("q", "k", "cos", "sin"), ("x", "cos", "sin"), ("q", "k", "freqs"), ("x", "freqs")),
    "rotate": (("x", "T", "H", "W"), ("q", "k", "T", "H", "W"), ("x", "sizes"), ("q", "k", "sizes")),
}
"""Forms of a function -> what it takes. freqs: complex numbers or (cos, sin); sizes: (T, H, W); coordinates: (S, 3)."""

_ALLOWED = (
    "it is a table builder f(T, H, W) or f(coordinates), an application f(q, k, cos, sin), f(x, cos, sin), "
    "f(q, k, freqs_cis) or f(x, freqs_cis), or a whole rotation f(x, T, H, W) or f(q, k, T, H, W)"
)


@dataclass(frozen=True)
class Form:
    """What f is. takes: a role for each argument, in f's order; keys: their names, None for those that have none;
    text: the name of its argument for text tokens.
    """

    kind: str
    takes: tuple[str, ...]
    keys: tuple[str | None, ...]
    text: str | None
    name: str

    @property
    def words(self) -> str:
        """The function as it is called."""
        return f"{self.name}({', '.join((*self.takes, *([self.text] if self.text else [])))})"

    def call(self, f: Any, values: Mapping[str, Any], text: int, said: str) -> Any:
        """What f returns, without gradients. Raises Refused with the exception's first line in place of f's own.

        values: what to hand over, by role. said: what that is, for the sentence.
        """
        import contextlib

        quiet: Any = contextlib.nullcontext()
        if "torch" in libraries():
            import torch

            quiet = torch.no_grad()
        roles = list(zip(self.takes, self.keys, strict=True))
        named = {key: values[role] for role, key in roles if key} | ({self.text: text} if self.text else {})
        try:
            with quiet:
                return f(*(values[role] for role, key in roles if not key), **named)
        except Exception as error:
            lines = str(error).strip().splitlines() or ["no message"]
            raise Refused(f"{self.name} raised {type(error).__name__}: {lines[0][:200]} ({said})") from error


def understand(f: Any, form: str | None = None) -> Form:
    """Tell a function's form by the names of its arguments, or by their number where `form` says what it is.

    Arguments with a default count where those without make no form. Raises BadRequest where nothing tells.
    """
    name = getattr(f, "__name__", type(f).__name__)
    name = "f" if name == "<lambda>" else name
    if form is not None and form not in FORMS:
        raise BadRequest(f"'{form}' is no form of a rope; it is {', '.join(FORMS)}.")
    if not callable(f):
        raise BadRequest(f"a {type(f).__name__} is no function: {_ALLOWED}.")
    try:
        # A module is called through hooks that take anything: its forward has the names.
        every = list(inspect.signature(getattr(f, "forward", f)).parameters.values())
    except (TypeError, ValueError):
        every = []
    open_ended = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    parameters = [p for p in every if p.kind not in open_ended]
    text = next((p.name for p in parameters if _ROLES.get(p.name.lower()) == "text"), None)
    parameters = [p for p in parameters if p.name != text]
    needed = [p for p in parameters if p.default is p.empty]
    known = [p for p in parameters if p.default is p.empty or p.name.lower() in _ROLES]

    def made(kind: str, given: list[inspect.Parameter], roles: tuple[str, ...]) -> Form:
        return Form(kind, roles, tuple(None if p.kind is p.POSITIONAL_ONLY else p.name for p in given), text, name)

    for given in (needed, known):
        roles = tuple(_ROLES.get(p.name.lower(), "") for p in given)
        if "k" not in roles:
            roles = tuple("x" if r == "q" else r for r in roles)
        for kind, ways in FORMS.items():
            if form in (None, kind) and any(sorted(way) == sorted(roles) for way in ways):
                return made(kind, given, roles)
    fitting = [way for way in FORMS.get(form or "", ()) if len(way) == len(needed)]
    if fitting:
        return made(str(form), needed, fitting[0])
    asked = (
        f"{name}({', '.join(str(p.replace(annotation=p.empty)) for p in every)})"
        if every
        else f"{name}, which does not say what it takes,"
    )
    wrap = "wrap it, as in check_rope(lambda T, H, W: f(...), ...)"
    enough = needed and not form and not hasattr(f, "forward") and len(every) == len(parameters)
    kinds = ", ".join(f'"{kind}"' for kind in FORMS)
    hint = f"say form={kinds}, or {wrap}" if enough else wrap
    raise BadRequest(f"{asked} cannot be told by its arguments: {_ALLOWED}; {hint}.")


class Refused(Exception):
    """The function raised, or gave back something of another shape; the message says what it was given."""


class WrongSize(Exception):
    """A table of another size; the message is a sentence without its end. remedy: what to do."""

    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(message)
        self.remedy = remedy


@dataclass(frozen=True)
class Tables:
    """A table builder with a way to call it. hand: library and dtype of the coordinates, where it takes these."""

    f: Callable[..., Any]
    form: Form
    rope: Rope3D
    hand: tuple[str, str] = ("torch", "float32")

    def __call__(self, sizes: Sizes, rows: Any = None) -> Complexes:
        """Numbers cos + i·sin at a grid, (S, d) or (S, d/2); rows: of these tokens. Raises Refused and WrongSize."""
        given = dict(zip("THW", sizes, strict=True)) | {"sizes": sizes}
        if self.form.kind == "positions":
            given["coordinates"] = self._handed(self.rope.coordinates(sizes))
        return self._made(given, prod(sizes), f"a grid of {'×'.join(map(str, sizes))}", rows)

    def at(self, coordinates: Floats) -> Complexes:
        """The same for coordinates (S, 3)."""
        return self._made({"coordinates": self._handed(coordinates)}, len(coordinates), "coordinates with a -1", None)

    def _handed(self, coordinates: Floats) -> Any:
        library, dtype = self.hand
        array = _array(coordinates, library)
        return array.to(getattr(__import__("torch"), dtype)) if library == "torch" else array

    def _made(self, given: dict[str, Any], tokens: int, said: str, rows: Any) -> Complexes:
        import numpy as np

        parts = _parts(self.form.call(self.f, given, 0, said), self.form.name, self.rope.head_dim, tokens)
        shapes = [tuple(p.shape) for p in parts]
        if shapes[0] != shapes[-1] or not shapes[0]:
            raise Refused(f"{self.form.name} gave back tables of shapes {shapes[0]} and {shapes[-1]}")
        width, count = shapes[0][-1], prod(shapes[0][:-1])
        d = self.rope.head_dim
        if count != tokens or width not in (d, d // 2):
            batch = width in (d, d // 2) and count % tokens == 0
            raise WrongSize(
                f"the table has {count:,} rows of {width} for {said}; {self.rope.name} has {tokens:,} rows of {d}, or "
                f"of {d // 2} with one number for each pair",
                f"make {tokens:,} rows, one for each token, without a batch" if batch else
                f"make {d} columns, a row a token",
            )  # fmt: skip
        parts = [p.reshape(count, width) for p in parts]
        parts = [to_numpy(p if rows is None else p[rows]) for p in parts]
        whole: Complexes = (parts[0] if len(parts) == 1 else parts[0] + 1j * parts[1]).astype(np.complex128)
        if not np.isfinite(whole).all():
            raise Refused(f"{self.form.name} gave back numbers that are not finite on {said}")
        return whole


def tables(f: Callable[..., Any], form: Form, rope: Rope3D, sizes: Sizes) -> Tables:
    """The first way to call a table builder that works. Raises Refused with what the first way met."""
    refused: Refused | None = None
    dtypes = {"torch": ("float32", "int64"), "numpy": ("float64",)}
    for library in libraries() if form.kind == "positions" else libraries()[:1]:
        for dtype in dtypes[library] if form.kind == "positions" else dtypes[library][:1]:
            made = Tables(f, form, rope, (library, dtype))
            try:
                made(sizes)
            except Refused as error:
                refused = refused or error
                continue
            except WrongSize:
                pass
            return made
    raise refused or Refused("neither torch nor numpy is installed")


def _parts(made: Any, name: str, head_dim: int, tokens: int) -> list[Any]:
    """Cosines and sines, or one complex table, out of what a builder gives back."""
    if isinstance(made, Mapping):
        roles = {_ROLES.get(str(key).lower()): value for key, value in made.items()}
        if not {"cos", "sin"} <= set(roles):
            raise Refused(f"{name} gave back a dict of {', '.join(map(str, made)) or 'nothing'}; it has cos and sin")
        made = roles["cos"], roles["sin"]
    while isinstance(made, tuple | list) and len(made) == 1:
        made = made[0]
    parts = list(made) if isinstance(made, tuple | list) else [made]
    if len(parts) not in (1, 2):
        raise Refused(f"{name} gave back {len(parts)} values; it is cos and sin, or one complex table")
    for part in parts:
        if not hasattr(part, "shape") or not hasattr(part, "dtype"):
            raise Refused(f"{name} gave back a {type(part).__name__}; it is cos and sin, or one complex table")
    complexes = [str(p.dtype).removeprefix("torch.").startswith("complex") for p in parts]
    if any(complexes):
        return [parts[complexes.index(True)]]
    if len(parts) == 2:
        return parts
    (table,) = parts
    shape, half = tuple(table.shape), head_dim // 2
    if shape[-3:] == (half, 2, 2):  # a matrix for each pair: ((cos, -sin), (sin, cos))
        return [table[..., 0, 0], table[..., 1, 0]]
    if shape[-2:] == (half, 2):
        return [table[..., 0], table[..., 1]]
    if shape[:1] == (2,) and prod(shape) == 2 * tokens * shape[-1]:
        return [table[0], table[1]]
    if shape[-2:-1] == (2,) and prod(shape[:-2]) == tokens:
        return [table[..., 0, :], table[..., 1, :]]
    raise Refused(f"{name} gave back one real table, of shape {shape}; it is cos and sin, or one complex table")


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
    for library in libraries():
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


def libraries() -> list[str]:
    """Those that are installed, torch first."""
    import importlib.util

    return [name for name in ("torch", "numpy") if importlib.util.find_spec(name)]


@dataclass(frozen=True)
class Rotation:
    """f with a way to call it: turns queries and keys of a whole sequence. text: its text tokens; heads: as many as f
    wants at a time, None where it takes any number.
    """

    f: Callable[..., Any]
    form: Form
    way: Way
    rope: Rope3D
    text: int = 0
    heads: int | None = None

    def length(self, sizes: Sizes) -> int:
        """Tokens of a sequence."""
        return self.rope.placement.length(prod(sizes), self.text)

    def __call__(self, q: Floats, k: Floats, sizes: Sizes) -> tuple[Floats, Floats]:
        """Turn q and k, each (heads, L + S, d). Raises Refused."""
        import numpy as np

        step = self.heads or len(q)
        outs = []
        for i in range(0, len(q), step):
            some = [x[i : i + step] for x in (q, k)]
            lacking = step - len(some[0])
            if lacking:
                some = [np.concatenate([x, np.zeros((lacking, *x.shape[1:]))]) for x in some]
            outs.append(self._turned(some[0], some[0] if k is q else some[1], sizes))
        if len(outs) == 1 and not lacking:
            return outs[0]
        first, second = (np.concatenate(part)[: len(q)] for part in zip(*outs, strict=True))
        return first, second

    def _turned(self, q: Floats, k: Floats, sizes: Sizes) -> tuple[Floats, Floats]:
        import numpy as np

        given: dict[str, Any] = dict(zip("THW", sizes, strict=True), sizes=sizes)
        if self.form.kind == "apply":
            given |= self._tables(sizes)
        said = f"{self.way.words} on a grid of {'×'.join(map(str, sizes))}"

        def run(**vectors: Floats) -> list[Floats]:
            handed = {role: self._out(x) for role, x in vectors.items()}
            shape = tuple(next(iter(handed.values())).shape)
            made = self.form.call(self.f, given | handed, self.text, said)
            several = isinstance(made, tuple | list) or tuple(getattr(made, "shape", ())) == (2, *shape)
            outs = list(made) if several else [made]
            if made is None:
                raise Refused(
                    f"{self.form.name} gave back nothing ({said}); where it turns in place, return what it turned"
                )
            if len(outs) != len(vectors) or any(tuple(getattr(y, "shape", ())) != shape for y in outs):
                shapes = ", ".join(str(tuple(y.shape)) if hasattr(y, "shape") else type(y).__name__ for y in outs)
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
