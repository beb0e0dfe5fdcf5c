"""SmolLM2's GGUF file becomes a folder that the transformers library reads: same weights, same words, same manners."""

import shutil
import threading
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from data.files import sources
from data.files.sources import locate_weights, weights_digest
from lightning_modules.networks.hub import gguf as gguf_weights
from lightning_modules.networks.hub.gguf import loadable
from tests.smollm2 import WEIGHTS


def test_the_folder_holds_the_files_weights(smollm2_folder):
    file = locate_weights(WEIGHTS)
    read = AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, dtype=torch.float32).state_dict()
    model = AutoModelForCausalLM.from_pretrained(smollm2_folder)
    kept = model.state_dict()
    assert set(kept) == set(read) and all(torch.equal(kept[name], read[name]) for name in read)
    assert model.config.model_type == "llama" and model.num_parameters() == 134_515_008


def test_template_and_ends_come_along(smollm2_folder):
    tokenizer = AutoTokenizer.from_pretrained(smollm2_folder)
    asked = [{"role": "user", "content": "Hi"}]
    text = tokenizer.apply_chat_template(asked, tokenize=False, add_generation_prompt=True)
    assert text.startswith("<|im_start|>system\nYou are a helpful AI assistant named SmolLM")
    assert text.endswith("<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n")
    end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    assert GenerationConfig.from_pretrained(smollm2_folder).eos_token_id == end


def test_a_folder_is_taken_as_it_is(tmp_path):
    assert loadable(tmp_path) == tmp_path


def test_a_second_call_reads_nothing(smollm2_folder, monkeypatch):
    monkeypatch.setattr(gguf_weights, "_dequantise", lambda *_: pytest.fail("dequantised again"))
    assert loadable(locate_weights(WEIGHTS)) == smollm2_folder


@pytest.fixture
def quick(tmp_path, monkeypatch):
    """A cache of its own, and a file whose dequantising writes two small files."""

    def write(file: Path, folder: Path) -> None:
        (folder / "model.safetensors").write_bytes(file.read_bytes())
        (folder / gguf_weights._MARK).write_text("{}")

    monkeypatch.setattr(sources, "_cache", lambda: tmp_path / "cache")
    monkeypatch.setattr(gguf_weights, "_dequantise", write)
    file = tmp_path / "model.gguf"
    file.write_bytes(b"weights")
    return file


def test_processes_that_race_end_with_one_whole_folder(quick):
    barrier, found = threading.Barrier(8), []

    def load():
        barrier.wait()
        found.append(loadable(quick))

    threads = [threading.Thread(target=load) for _ in range(8)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert len(found) == 8 and len(set(found)) == 1
    assert [path.name for path in found[0].parent.iterdir()] == [found[0].name]


def test_a_folder_that_was_cut_short_is_written_again(quick):
    folder = loadable(quick)
    (folder / gguf_weights._MARK).unlink()
    assert (loadable(quick) / gguf_weights._MARK).is_file()


def test_another_file_is_another_folder(quick):
    first = loadable(quick)
    quick.write_bytes(b"other weights")
    assert loadable(quick) != first


def test_a_file_that_is_no_gguf_is_refused_in_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "_cache", lambda: tmp_path / "cache")
    file = tmp_path / "model.gguf"
    file.write_bytes(b"no such thing")
    with pytest.raises(ValueError, match="not a GGUF file") as refused:
        loadable(file)
    assert "\n" not in str(refused.value)
    assert not list((tmp_path / "cache" / "weights").iterdir())


def test_a_gguf_file_is_located_and_digested_by_itself(tmp_path):
    file = tmp_path / "model.gguf"
    file.write_bytes(b"weights")
    assert locate_weights(str(file)) == file
    assert weights_digest(file) == sources.digest(file)
    shutil.copy(file, tmp_path / "model.bin")
    with pytest.raises(sources.DataNotFoundError):
        locate_weights(str(tmp_path / "model.bin"))
