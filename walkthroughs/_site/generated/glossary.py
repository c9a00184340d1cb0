"""The glossary: words of the field in English, Chinese and Japanese, with a short definition and where each is met.

A line of a table is: English | Chinese | Japanese | pages; the definition is indented below it. Several names of one
thing are parted by `;`. Letters and stages are named by the package: their lines begin with the letter or the slug, and
the definition of a stage is the package's own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from plain import plain

from tracer.notes import PIPELINE_STAGES, STAGES

PAGES = {
    "cogvideox": ("CogVideoX", "cogvideox.md"),
    "hunyuanvideo": ("HunyuanVideo", "hunyuanvideo.md"),
    "pipelines": ("from prompt to pixels", "pipelines.md"),
    "frames": ("frames", "frames.md"),
    "rope": ("rotary positions", "rope.md"),
    "l1": ("L1 and schedules", "l1.md"),
    "add": ("add a model", "add-a-model.md"),
    "schema": ("traces as JSON", "reference/schema.md"),
    "tracer": ("the API", "reference/tracer.md"),
    "trace-shapes": ("trace-shapes", "reference/trace-shapes.md"),
    "show-rope": ("show-rope", "reference/show-rope.md"),
    "probe-l1": ("probe-l1", "reference/probe-l1.md"),
    "families": ("families", "reference/families.md"),
}
"""What a line may call a page: its name in a sentence, and its place."""

LETTERS = """
B | 批大小 | バッチサイズ | cogvideox
  batch: samples in one forward; guidance with two predictions doubles it
N | 帧数 | フレーム数 | frames
  frames of the video, in pixel space
F | 潜帧数 | 潜在フレーム数 | frames
  latent frames: what the autoencoder makes of N frames
H | 潜变量高度 | 潜在変数の高さ | cogvideox
  latent height: rows after the autoencoder
W | 潜变量宽度 | 潜在変数の幅 | cogvideox
  latent width: columns after the autoencoder
L | 文本词元数 | テキストトークン数 | cogvideox
  text tokens that the transformer sees
S | 视频词元数 | 動画トークン数 | cogvideox
  video tokens: patches of all latent frames
D | 隐藏维度 | 隠れ次元数 | cogvideox
  hidden: width of the residual stream, heads times head dim
h | 注意力头数 | アテンションヘッド数 | cogvideox
  attention heads
d | 每头维度 | ヘッド次元数 | cogvideox, rope
  width of a head
C | 输入通道数 | 入力チャネル数 | cogvideox
  latent channels that go in
C_out | 输出通道数 | 出力チャネル数 | cogvideox
  latent channels that come out
T | 时间嵌入维度 | 時間埋め込みの次元数 | cogvideox
  width of the vector that conditions every block on the timestep
p | 图像块边长 | パッチの一辺 | cogvideox
  rows and columns of latents in a patch; printed as its number
p_t | 图像块帧数 | パッチのフレーム数 | frames
  latent frames in a patch, where patches reach over time; printed as its number
"""

STAGE_NAMES = """
time-embedding | 时间步嵌入 | タイムステップ埋め込み | cogvideox
offset-embedding | 偏移嵌入 | オフセット埋め込み | cogvideox
guidance-embedding | 引导强度嵌入 | ガイダンス埋め込み | hunyuanvideo
pooled-text | 池化文本嵌入 | プーリング済みテキスト埋め込み | hunyuanvideo
rope-tables | 旋转位置编码表 | 回転位置埋め込みの表 | rope
text-projection | 文本投影 | テキスト射影 | cogvideox
image-projection | 图像投影 | 画像射影 | trace-shapes
token-refiner | 词元精炼器 | トークンリファイナー | hunyuanvideo
camera | 相机位姿嵌入 | カメラ姿勢の埋め込み | trace-shapes
patch-embed | 图像块嵌入 | パッチ埋め込み | cogvideox
history | 历史帧 | 履歴フレーム | frames
concat | 拼接 | 連結 | cogvideox
position-embedding | 位置嵌入 | 位置埋め込み | cogvideox
attention-mask | 注意力掩码 | アテンションマスク | hunyuanvideo
block | Transformer 块 | トランスフォーマーブロック | cogvideox
modulation | 调制 | モジュレーション; 変調 | cogvideox
qkv | 查询、键、值 | クエリ・キー・バリュー | cogvideox
qk-norm | 查询-键归一化 | クエリ・キー正規化 | cogvideox
rope | 旋转位置编码 | 回転位置埋め込み | rope
attention | 注意力 | アテンション; 注意機構 | cogvideox
cross-attention | 交叉注意力 | クロスアテンション; 交差注意 | trace-shapes
split | 拆分 | 分割 | cogvideox
gate | 门控 | ゲート | cogvideox
feed-forward | 前馈网络 | フィードフォワード層; 順伝播型ネットワーク | cogvideox
norm-out | 输出归一化 | 出力正規化 | cogvideox
unpatchify | 图像块还原 | パッチの復元 | cogvideox
pre-processing | 预处理 | 前処理 | pipelines
text-encoder | 文本编码器 | テキストエンコーダ | pipelines
image-encoder | 图像编码器 | 画像エンコーダ | pipelines
vae-encode | VAE 编码 | VAEエンコード | pipelines
latents | 初始潜变量 | 初期潜在変数 | pipelines
schedule | 噪声调度 | ノイズスケジュール | l1
denoising-step | 去噪步 | ノイズ除去ステップ; デノイジングステップ | pipelines
guidance | 引导 | ガイダンス | pipelines
scheduler-step | 调度器步进 | スケジューラのステップ | pipelines
vae-decode | VAE 解码 | VAEデコード | pipelines
post-processing | 后处理 | 後処理 | pipelines
"""

TERMS = {
    "The model": """
diffusion transformer; DiT | 扩散 Transformer | 拡散トランスフォーマー | cogvideox
  a transformer that is given noisy latents, a noise level and a prompt, and predicts how to make the latents
  less noisy
latent | 潜变量 | 潜在変数 | cogvideox, pipelines
  one of the numbers the autoencoder makes of pixels; the transformer sees these only
patch | 图像块; 补丁 | パッチ | cogvideox
  a square of latents, in some models over several frames, that becomes one token
token | 词元 | トークン | cogvideox
  one row of the sequence: a vector that stands for a patch or a piece of text
embedding | 嵌入 | 埋め込み | cogvideox
  a vector that stands for something else: a patch, a word, a timestep
residual stream | 残差流 | 残差ストリーム | cogvideox
  the tokens as they run through all blocks; each block adds to them
self-attention | 自注意力 | 自己注意 | cogvideox
  attention in which queries, keys and values come from the same tokens
attention head | 注意力头 | アテンションヘッド | cogvideox
  one of several attentions side by side, each on its own part of the width
adaptive layer norm; adaLN | 自适应层归一化 | 適応的レイヤー正規化 | cogvideox
  a layer norm whose shift and scale are made from the conditioning vector, so that every block knows the
  timestep
shift and scale | 平移与缩放 | シフトとスケール | cogvideox
  what a modulation adds to normalised tokens and multiplies them by
dual stream | 双流 | デュアルストリーム | hunyuanvideo
  blocks in which text and video have weights of their own and meet in one attention
single stream | 单流 | シングルストリーム | hunyuanvideo
  blocks in which text and video are one sequence with the same weights
timestep | 时间步 | タイムステップ | cogvideox, l1
  the number that tells the model how noisy its input is
prompt | 提示词 | プロンプト | pipelines
  the sentence that says what the video shall show
activation | 激活值 | アクティベーション; 活性値 | trace-shapes
  a tensor that a forward makes on its way, as opposed to a weight; amounts of them are all that is written in a
  run, not what is held at one time
FLOPs | 浮点运算次数 | 浮動小数点演算数 | trace-shapes
  floating-point operations of matrix products, convolutions and attention; a multiply-add is two
parameter | 参数 | パラメータ | trace-shapes
  a number that was learned; a weight or a bias holds many
""",
    "The autoencoder and frames": """
variational autoencoder; VAE | 变分自编码器 | 変分オートエンコーダ | pipelines
  the network that makes latents of pixels, and pixels of latents
causal VAE | 因果 VAE | 因果的VAE | frames
  a video autoencoder whose convolutions look back in time and never ahead, so that the first frame is a latent
  frame of its own
latent frame | 潜帧 | 潜在フレーム | frames
  what several frames of the video become
compression | 压缩率 | 圧縮率 | frames
  how many frames, and how many rows or columns of pixels, become one latent
frame rule | 帧数规则 | フレーム数の規則 | frames
  what a pipeline does to the number of frames that it is asked for
section | 分段 | セクション | frames
  a part of a video that is denoised on its own, looking back at what is there already
clip | 片段 | クリップ | frames
  the frames that answer one action in a video that is made action by action
""",
    "Positions": """
rotary position embedding; RoPE | 旋转位置编码 | 回転位置埋め込み | rope
  turning queries and keys by angles that follow from the token's position, so that attention sees differences
  of positions
theta | 频率底数 θ | 周波数の底 θ | rope
  the base whose powers are the frequencies of a rotary embedding
frequency | 频率 | 周波数 | rope
  radians that a pair turns for each position
pair | 旋转对 | 回転ペア | rope
  the two numbers of a head that turn together
axis split | 轴向划分 | 軸への分割 | rope
  which part of a head turns with the frame, the row and the column
grid | 网格 | グリッド | rope
  the places of the video tokens: frames, rows and columns of patches
interpolation | 位置插值 | 位置補間 | rope, show-rope
  dividing positions, so that a larger grid lies within the trained one
NTK-aware scaling; NTK | NTK 感知缩放 | NTK対応スケーリング | rope, show-rope
  a larger theta in place of divided positions: the slowest pair is slowed, the fastest stays
extrapolation | 外推 | 外挿 | rope
  positions beyond those that the model was trained on
""",
    "Noise, steps and guidance": """
scheduler | 调度器 | スケジューラ | cogvideox, pipelines
  the object that says which noise levels are visited, and makes each step
sampler | 采样器 | サンプラー | l1
  the rule by which a prediction becomes less noisy latents: Euler, UniPC, LCM, DDIM, DPM
sigma | 噪声水平 σ | ノイズレベル σ | l1
  how noisy latents are; in flow matching the share of noise, from 1 to 0
signal-to-noise ratio; SNR | 信噪比 | 信号対雑音比; SN比 | l1
  how strong the clean part of latents is beside the noise
flow matching | 流匹配 | フローマッチング | l1
  training on straight lines between noise and data: the model predicts the velocity along them
velocity | 速度 | 速度 | l1
  what a flow-matching model predicts: noise minus data
noise prediction; epsilon prediction | 噪声预测 | ノイズ予測; ε予測 | cogvideox
  a model that predicts the noise in its input
v-prediction | v 预测 | v予測 | cogvideox, l1
  a model that predicts a mix of noise and data whose shares follow the noise level
flow shift; timestep shift | 时间步偏移 | フローシフト; タイムステップシフト | l1
  a bend of the sigmas; above 1, more of the steps are spent where there is much noise
classifier-free guidance; CFG | 无分类器引导 | 分類器なしガイダンス; 分類器フリーガイダンス | hunyuanvideo, l1
  the prediction with the prompt, moved further away from the one without it
true CFG | 真 CFG | 真のCFG | hunyuanvideo, l1
  guidance with a second forward, in a model that also takes the scale as an input
embedded guidance; guidance distillation | 嵌入式引导; 引导蒸馏 | 埋め込みガイダンス; ガイダンス蒸留 | hunyuanvideo, l1
  the guidance scale as an input of the model, which learned to answer as if guided: one forward a step
conditional | 条件 | 条件付き | l1
  the branch of guidance that sees the prompt
unconditional | 无条件 | 無条件 | l1
  the branch of guidance that does not, or that sees the negative prompt
negative prompt | 负向提示词 | ネガティブプロンプト | l1
  what stands in place of no prompt in the second branch of guidance
seed | 随机种子 | シード; 乱数シード | probe-l1
  the number that decides which noise a run starts from
""",
    "What each step changes": """
probe | 探针 | プローブ | l1
  an instrument on a running pipeline that records how much each step changes something
signal | 信号 | シグナル | l1
  a tensor that a probe listens to: latents, predictions, what a block is given
metric | 度量 | 指標 | l1
  how two tensors are compared
relative L1 | 相对 L1 距离 | 相対L1距離 | l1
  the sum of absolute differences, over the sum of absolute values of the tensor before
U curve | U 形曲线 | U字カーブ | l1
  the relative L1 of predictions over the steps: large at both ends, small in between
step cache | 步缓存; 特征缓存 | ステップキャッシュ | l1
  skipping the transformer in steps whose result is expected to be nearly that of the step before
log | 记录 | ログ | l1, probe-l1
  what a probe recorded: a table with one row for each step, signal and metric
cell | 单元 | セル | probe-l1
  one setting of a sweep, with its prompt and seed
sweep | 参数扫描 | スイープ | probe-l1
  runs over a grid of settings
pocket model | 袖珍模型 | ポケットモデル | l1
  a small trained model in a real pipeline, for laptops and tests
""",
    "This toolkit": """
trace | 追踪记录 | トレース | cogvideox, schema
  what one run was seen to do: a head, and a tree of calls
call | 调用 | 呼び出し | schema
  one thing that happened: a module, a function or an operation, with what went in and out
operation | 算子 | 演算 | trace-shapes
  a call of one tensor function, such as a concat or a reshape
formula | 公式 | 式 | cogvideox, schema
  where a size comes from, in the letters of the head; read off from runs and checked by them
legend | 图例 | 凡例 | schema
  the letters of a trace, with what they mean and their values
stage | 阶段 | ステージ | trace-shapes
  a named step of the walk through a model; its name is a link, too
note | 注解 | 注釈 | add, families
  why a shape is what it is, with the axes it claims; a test holds them against the run
fold | 折叠 | 折りたたみ | cogvideox
  equal blocks as one row with a count; that they are equal was checked
family | 模型家族 | モデルファミリー | add, families
  the code that runs a checkpoint, and the file that describes it here
checkpoint | 检查点 | チェックポイント | add
  one published set of weights with its config
config | 配置 | 設定; コンフィグ | add
  the fields that a model's constructor takes
request | 请求 | リクエスト | trace-shapes
  what a person asks for: frames, height, width, text tokens, batch
meta device | meta 设备 | metaデバイス | add, tracer
  where tensors of torch have shapes and no values: no memory, no weights
""",
}


@dataclass(frozen=True)
class Entry:
    """One line: its anchor, names in three languages, the pages where it is met, its definition."""

    slug: str
    english: tuple[str, ...]
    chinese: tuple[str, ...]
    japanese: tuple[str, ...]
    pages: tuple[str, ...]
    meaning: str


def files() -> Iterator[tuple[str, str]]:
    """The one page."""
    yield "glossary.md", page()


def page() -> str:
    """The page, section by section."""
    parts = [
        "# Glossary",
        "The words as they are used here, with what Chinese and Japanese texts call them. Each is a link to itself. "
        "Letters and stages are the package's own names; they stand at the end.",
    ]
    for title, found in sections().items():
        parts += [f"## {title}", *map(shown, found)]
    return "\n\n".join(parts) + "\n"


def sections() -> dict[str, list[Entry]]:
    """All entries, by the section they stand in."""
    stages = entries(STAGE_NAMES, "stage-", STAGES)
    return {title: entries(text) for title, text in TERMS.items()} | {
        "Letters": entries(LETTERS, "letter-"),
        "Stages of the model": [e for e in stages if e.english[0] not in PIPELINE_STAGES],
        "Stages of the pipeline": [e for e in stages if e.english[0] in PIPELINE_STAGES],
    }


def entries(text: str, before: str = "", meanings: dict[str, str] | None = None) -> list[Entry]:
    """The entries of a table. meanings: definitions by name, for tables that have none."""
    out = []
    for found in re.finditer(r"^(\S.*)((?:\n .*)*)", text, re.MULTILINE):
        english, chinese, japanese, pages = (cell.strip() for cell in found[1].split(" | "))
        meaning = " ".join(found[2].split()) if meanings is None else meanings[english]
        names = [tuple(name.split("; ")) for name in (english, chinese, japanese)]
        slug = before + (names[0][0] if before else re.sub(r"[^a-z0-9]+", "-", names[0][0].lower()))
        out.append(Entry(slug, *names, tuple(pages.split(", ")), meaning))
    return out


def shown(entry: Entry) -> str:
    """One entry as an item of a definition list."""
    name = plain(", ".join(entry.english))
    name = f"`{entry.english[0]}`" if entry.slug.startswith(("letter-", "stage-")) else name
    links = ", ".join(f"[{said}]({place})" for said, place in (PAGES[p] for p in entry.pages))
    other = " ".join(
        f'<span class="term" lang="{tongue}">{"、".join(names)}</span>'
        for tongue, names in (("zh-Hans", entry.chinese), ("ja", entry.japanese))
    )
    return f"[{name}](#{entry.slug}){{ #{entry.slug} }} {other}\n:   {plain(entry.meaning)}. → {links}"
