import gzip
import json

import pytest

from data.files.stages import TemporaryStages
from data.rag.chunking import Chunker
from data.rag.corpus import (
    Corpus,
    CorpusReport,
    PassageFile,
    PassageTexts,
    RawRow,
    passage_id,
    read_lines,
    write_passages,
)
from data.records.passages import Passage


def lines(tmp_path, monkeypatch, *raw, name="c.jsonl"):
    content = b"\n".join(line if isinstance(line, bytes) else json.dumps(line).encode() for line in raw)
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    monkeypatch.setenv("PAPERGRID_DATA", str(tmp_path))
    return name


def written(tmp_path, rows, **settings):
    write_passages((RawRow(row) for row in rows), tmp_path, **settings)
    return PassageFile(tmp_path)


@pytest.mark.parametrize("name", ["c.jsonl", "c.jsonl.gz"])
def test_whatever_is_wrong_is_counted_and_the_rest_is_kept(tmp_path, monkeypatch, name):
    file = lines(
        tmp_path,
        monkeypatch,
        {"id": "a", "title": "T", "text": "one two"},
        b'{"id": "b", "title": "", "text": "caf\xe9"}',  # Latin-1
        b"{not json",
        b"[1, 2]",
        {"id": "c", "title": "T"},
        {"id": "d", "text": " \n"},
        {"id": "e", "title": "T ", "text": "one  two"},  # the first again, but for white space
        b"",
        {"id": "a", "title": "U", "text": "another text under a taken id"},
        {"id": "f", "text": "lone \ud800 surrogate"},
        {"id": "g", "text": "word " * 60},
        {"id": "h", "text": None},
        name=name,
    )
    corpus = Corpus(name="c", files={"all": file}, longest=100)
    passages = corpus.passages(TemporaryStages())
    assert passages.report == CorpusReport(
        rows=11, kept=5, passages=7, malformed=3, empty=2, duplicates=1, giant=1, undecodable=1, clashing=1
    )
    report = passages.report
    assert report.rows == report.kept + report.malformed + report.empty + report.duplicates
    assert [passage.id for passage in passages] == ["a", "b", "a~2", "f", "g#0", "g#1", "g#2"]
    assert passages[1].text == "caf\ufffd" and passages[0] == Passage("a", "T", "one two")
    assert "".join(passage.text for passage in passages[4:]) == "word " * 60


def test_a_clash_with_a_made_up_id_is_resolved_too(tmp_path):
    rows = [{"id": name, "text": text} for name, text in (("a~2", "x"), ("a", "y"), ("a", "z"), ("a", "w"))]
    passages = written(tmp_path, rows)
    assert [passage.id for passage in passages] == ["a~2", "a", "a~3", "a~4"] and passages.report.clashing == 2


def test_a_giant_text_without_white_space_is_cut_all_the_same(tmp_path):
    passages = written(tmp_path, [{"id": "g", "text": "x" * 250}], longest=100)
    assert [len(passage.text) for passage in passages] == [100, 100, 50]


def test_chunks_become_passages_with_their_title(tmp_path):
    passages = written(tmp_path, [{"id": "a", "title": "T", "text": "1 2 3 4 5"}], chunk=Chunker(size=3, overlap=1))
    assert list(passages) == [Passage("a#0", "T", "1 2 3"), Passage("a#1", "T", "3 4 5")]


def test_a_corpus_file_is_a_sequence(tmp_path):
    passages = written(tmp_path, [{"id": str(n), "title": "Zürich", "text": f"text {n}"} for n in range(5)])
    assert len(passages) == 5 and passages[-1].id == "4" and [p.id for p in passages[1:3]] == ["1", "2"]
    with pytest.raises(IndexError):
        passages[5]
    assert passages.positions(["3", "0", "nobody"]) == {"0": 0, "3": 3}
    texts = PassageTexts(passages)
    assert texts[0] == "Zürich\ntext 0" and texts[3:] == ["Zürich\ntext 3", "Zürich\ntext 4"] and len(texts) == 5
    assert texts.digest == passages.digest


def test_an_empty_corpus_is_empty_not_an_error(tmp_path):
    passages = written(tmp_path, [])
    assert len(passages) == 0 and list(passages) == []


def test_the_digest_tells_corpora_apart(tmp_path):
    digests = []
    for number, text in enumerate(("x", "x", "y")):
        folder = tmp_path / str(number)
        folder.mkdir()
        digests.append(written(folder, [{"id": "a", "text": text}]).digest)
    assert digests[0] == digests[1] != digests[2]


def test_contents_rows_split_title_and_text(tmp_path):
    rows = [{"id": "0", "contents": '"A title"\nThe text.\nMore.'}, {"id": "1", "contents": "only text"}]
    assert list(written(tmp_path, rows, reader="contents")) == [
        Passage("0", "A title", "The text.\nMore."),
        Passage("1", "", "only text"),
    ]


def test_a_hub_corpus_is_streamed_and_limited(monkeypatch):
    asked = []

    def load(hub, config, **options):
        asked.append((hub, config, options))
        return ({"id": str(n), "contents": f'"T{n}"\ntext {n}'} for n in range(10**9))

    monkeypatch.setattr("datasets.load_dataset", load)
    hub = {"id": "owner/wiki", "config": None, "split": "train", "revision": "v1"}
    passages = Corpus(name="w", hub=hub, reader="contents", limit=3).passages(TemporaryStages())
    assert [passage.title for passage in passages] == ["T0", "T1", "T2"]
    assert asked == [("owner/wiki", None, {"split": "train", "revision": "v1", "streaming": True})]


def test_settings_and_files_decide_the_key(tmp_path, monkeypatch):
    one = lines(tmp_path, monkeypatch, {"text": "x"}, name="one.jsonl")
    two = lines(tmp_path, monkeypatch, {"text": "y"}, name="two.jsonl")
    made = [
        Corpus(name="a", files={"all": one}),
        Corpus(name="b", files={"all": two}),
        Corpus(name="a", files={"all": one}, chunk=Chunker(size=9)),
        Corpus(name="a", files={"all": one}, limit=9),
    ]
    assert len({str(corpus.key()) for corpus in made}) == 4
    assert Corpus(name="other name", files={"all": one}).key() == made[0].key()


@pytest.mark.parametrize(
    "bad",
    [{}, {"files": {"a": "b"}, "hub": {"id": "x"}}, {"hub": {"id": "x"}}, {"files": {"a": "b"}, "reader": "xml"},
     {"files": {"a": "b"}, "longest": 5}, {"files": {"a": "b"}, "limit": 0}],
)  # fmt: skip
def test_bad_settings_are_refused(bad):
    with pytest.raises(ValueError, match="corpus c"):
        Corpus(name="c", **bad)


def test_the_real_corpus(needs_file):
    file = needs_file("qa/corpus/passages.jsonl.gz")
    rows = [row.fields for row, _ in zip(read_lines(file), range(200), strict=False)]
    # Its ids are what inlined passages are named by.
    assert all(row["id"] == passage_id(row["text"]) for row in rows)
    passages = Corpus(name="qa", files={"all": file}).passages(TemporaryStages())
    assert passages.report.rows == passages.report.passages == len(passages) == 13671
