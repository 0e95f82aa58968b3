"""A model's directory in the Hugging Face layout, read into values. No weights are loaded.

config.json                        the transformer (architecture.py)
modules.json, 1_Pooling/           sentence-transformers: what follows the transformer
sentence_bert_config.json          how long a text may be, whether it is lower-cased first
config_sentence_transformers.json  the instruction in front of queries
tokenizer*.json, special_tokens_map.json
model.safetensors
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from gte_pg.errors import ModelError, ModelNotFound
from gte_pg.models.architecture import BertArchitecture, NewArchitecture, read_architecture
from gte_pg.models.catalogue import KnownModel, Pooling, find
from gte_pg.models.json_file import JsonObject, read_json, read_object

__all__ = ["ModelDirectory", "read_directory"]

SPECIAL_TOKENS = ("cls_token", "sep_token", "eos_token", "pad_token", "unk_token")


@dataclass(frozen=True, slots=True)
class ModelDirectory:
    """A directory's settings. `lower_case_words` is the word tokenizer's own lower-casing, None
    where the files leave it to `tokenizer.json`; `lower_case_text` comes before the tokenizer.
    """

    path: Path
    architecture: BertArchitecture | NewArchitecture
    pooling: Pooling
    max_length: int
    query_instruction: str
    lower_case_text: bool
    lower_case_words: bool | None
    special_tokens: Mapping[str, str]


def read_directory(path: Path, known: KnownModel | None = None) -> ModelDirectory:
    """Read a directory's JSON files; what they leave open comes from `known`.

    A directory named as a known model counts as that model where its own files are silent.
    Raises ModelNotFound where there is no directory, ModelError where a file is wrong.
    """
    if not path.is_dir():
        raise ModelNotFound(f"there is no directory {path}; give the path of a model's files")
    known = known or find(path.name)
    architecture = read_architecture(path)
    sentence = read_object(path / "sentence_bert_config.json")
    tokenizer = read_object(path / "tokenizer_config.json")
    return ModelDirectory(
        path=path,
        architecture=architecture,
        pooling=_pooling(path, architecture, known),
        max_length=_max_length(sentence, tokenizer, architecture.positions, known),
        query_instruction=_query_instruction(path, known),
        lower_case_text=sentence.flag("do_lower_case", default=False),
        lower_case_words=(
            tokenizer.flag("do_lower_case", default=False)
            if "do_lower_case" in tokenizer.fields
            else None
        ),
        special_tokens=_special_tokens(read_object(path / "special_tokens_map.json"), tokenizer),
    )


def _pooling(
    path: Path, architecture: BertArchitecture | NewArchitecture, known: KnownModel | None
) -> Pooling:
    config = read_object(path / _pooling_folder(path) / "config.json")
    chosen = [
        name.removeprefix("pooling_mode_")
        for name, value in config.fields.items()
        if name.startswith("pooling_mode_") and value is True
    ]
    match chosen:
        case ["cls_token"]:
            return "cls"
        case ["mean_tokens"]:
            return "mean"
        case []:
            by_kind: Pooling = "cls" if isinstance(architecture, NewArchitecture) else "mean"
            return known.pooling if known else by_kind
    raise ModelError(f"{config.path}: pooling by {' + '.join(chosen)} is not supported (cls, mean)")


def _pooling_folder(path: Path) -> str:
    """Where the pooling module is; any module that would change the vector further is refused."""
    modules = read_json(path / "modules.json")
    if modules is None:
        return "1_Pooling"
    if not isinstance(modules, list) or not all(isinstance(module, dict) for module in modules):
        raise ModelError(f"{path / 'modules.json'} should hold a list of objects")
    folders = []
    for module in modules:
        kind = str(module.get("type", "")).rsplit(".", 1)[-1]
        if kind == "Pooling":
            folders.append(str(module.get("path", "")))
        elif kind not in ("Transformer", "Normalize"):
            raise ModelError(f"{path / 'modules.json'}: the module {kind!r} is not supported")
    if len(folders) > 1:
        raise ModelError(
            f"{path / 'modules.json'} has {len(folders)} pooling modules; one is supported"
        )
    return folders[0] if folders else "1_Pooling"


def _max_length(
    sentence: JsonObject, tokenizer: JsonObject, positions: int, known: KnownModel | None
) -> int:
    if sentence.fields.get("max_seq_length") is not None:
        return min(sentence.size("max_seq_length"), positions)
    if known:
        return min(known.max_length, positions)
    # Tokenizers without a limit of their own say 10^30, some of them as a float.
    return int(min(tokenizer.number("model_max_length", positions), positions))


def _query_instruction(path: Path, known: KnownModel | None) -> str:
    prompts = read_object(path / "config_sentence_transformers.json").object("prompts")
    if prompts is not None and prompts.text("query", ""):
        return prompts.text("query", "")
    return known.query_instruction if known else ""


def _special_tokens(special: JsonObject, tokenizer: JsonObject) -> dict[str, str]:
    """Each special token's text, by its role; a file gives it as a string or as an object."""
    found = {}
    for role in SPECIAL_TOKENS:
        for file in (special, tokenizer):
            token = file.fields.get(role)
            text = token.get("content") if isinstance(token, dict) else token
            if isinstance(text, str):
                found[role] = text
                break
    return found
