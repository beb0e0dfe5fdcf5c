"""What is special about the generator on a sentence encoder: tags, frozen layers, shapes without an inventory."""

import pytest
import torch

from lightning_modules.networks.answerer.marked_encoder import TAGS
from lightning_modules.relations.re import RelationGenerator
from tests.lightning_modules.tiny_models import LABELS, SENTENCES, tiny

PROMPTS = [text for text, _ in SENTENCES]


def build(tokenizer, **options):
    torch.manual_seed(0)
    return tiny("marked", tokenizer, **options).build()


def relation_generator(tokenizer):
    module = RelationGenerator(model=tiny("marked", tokenizer, label_head_weight=1.0), seed=0, tune=False)
    module.network = module.model.build()
    return module


def test_each_tag_is_one_token_that_starts_from_its_piece(tokenizer):
    encoder = build(tokenizer, tag_pieces=["[", "]", "(", ")"]).encoder
    table = encoder.encoder.get_input_embeddings().weight
    pieces = encoder.tokenizer.convert_tokens_to_ids(["[", "]", "(", ")"])
    for tag, own, piece in zip(TAGS, encoder.tag_ids, pieces, strict=True):
        assert encoder.tokenizer.tokenize(f"a {tag}b") == ["a", tag, "b"]
        assert own != piece and torch.equal(table[own], table[piece])


def test_a_separator_in_a_sentence_is_text(tokenizer):
    encoder = build(tokenizer).encoder
    (ids,) = encoder.ids(["a [SEP] b <e1>c</e1>"])
    assert ids.count(encoder.tokenizer.sep_token_id) == 1 and ids[-1] == encoder.tokenizer.sep_token_id
    assert encoder.tag_ids[0] in ids


def test_the_pair_is_read_at_the_first_two_tags(tokenizer):
    encoder = build(tokenizer).encoder.eval()
    text = "the <e1>cause</e1> of <e2>effect</e2>\nSimilar: <e2>topic</e2> about <e1>message</e1>"
    pair = encoder.read(encoder.collate(encoder.ids([text])))[0]
    ids = encoder.ids([text])
    tokens = encoder.tokenizer.convert_ids_to_tokens(ids[0])
    states = encoder.encoder(input_ids=torch.tensor(ids)).last_hidden_state[0]
    expected = torch.stack([states[tokens.index("<e1>")], states[tokens.index("<e2>")]])
    assert torch.allclose(pair, expected, atol=1e-5) and tokens.count("<e1>") == 2


@pytest.mark.parametrize("frozen_layers", [0, 1, 2])
def test_the_top_layer_at_the_tags_is_that_of_the_whole_encoder(tokenizer, frozen_layers):
    """Also with padding, whose keys must not be attended to, and in its gradient."""
    encoder = build(tokenizer, frozen_layers=frozen_layers).encoder.eval()
    batch = encoder.collate(encoder.ids(PROMPTS))
    assert 0 in batch["attention_mask"]
    states = encoder.encoder(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).last_hidden_state
    at = [[row.index(encoder.tag_ids[0]), row.index(encoder.tag_ids[2])] for row in batch["input_ids"].tolist()]
    expected = torch.stack([states[index, places] for index, places in enumerate(at)])
    pair = encoder.read(batch)
    assert torch.allclose(pair, expected, atol=1e-5)
    weights = [value for value in encoder.parameters() if value.requires_grad]
    if weights:
        ours, theirs = (
            torch.autograd.grad(found.square().sum(), weights, allow_unused=True) for found in (pair, expected)
        )
        assert any(one is not None for one in ours)
        for one, other in zip(ours, theirs, strict=True):
            assert (one is None) is (other is None) and (one is None or torch.allclose(one, other, atol=1e-3))


def test_a_prompt_without_tags_is_refused(tokenizer):
    network = build(tokenizer)
    with pytest.raises(ValueError, match="lacks <e1> or <e2>"):
        network.score(["no <e1>tags</e1> for the tail"], LABELS)


def test_frozen_layers_neither_train_nor_drop_out(tokenizer):
    network = build(tokenizer, frozen_layers=1, dropout=0.5, decoder_dropout=0.0).train()
    layers = network.encoder.encoder.encoder.layer
    frozen = {id(value) for value in [*network.encoder.encoder.embeddings.parameters(), *layers[0].parameters()]}
    assert all(value.requires_grad is (id(value) not in frozen) for value in network.parameters())
    assert not layers[0].training and not network.encoder.encoder.embeddings.training and layers[1].training
    values, _ = network.answer_logps(network.collate(PROMPTS, [LABELS[0]] * len(PROMPTS)))
    (-values.sum()).backward()
    assert all((value.grad is None) is (id(value) in frozen) for value in network.parameters())


def test_depths_and_new_weights(tokenizer):
    network = build(tokenizer)
    depths = {name: network.depth(name) for name, _ in network.named_parameters() if name.startswith("encoder.")}
    assert {depths[name] for name in depths if "layer.1." in name} == {0}
    assert {depths[name] for name in depths if "layer.0." in name} == {1}
    assert {depths[name] for name in depths if "embeddings" in name} == {2}
    assert all(network.is_new(name) is name.startswith("decoder.") for name, _ in network.named_parameters())


def test_the_label_head_adds_its_weighted_cross_entropy_in_training_alone(tokenizer):
    network = build(tokenizer, label_head_weight=0.5, decoder_dropout=0.0).eval()
    answers = [LABELS[index % len(LABELS)] for index in range(len(PROMPTS))]
    alone, mask = network.losses(network.collate(PROMPTS, answers), per_sequence="sum")
    logps, _ = network.answer_logps(network.collate(PROMPTS, answers))
    assert torch.allclose(alone, -(logps * mask).sum(-1), atol=1e-5)

    network.expect(LABELS)
    batch = network.collate(PROMPTS, answers)
    both, _ = network.losses(batch, per_sequence="sum")
    logits = network.encoder.read(batch).flatten(1) @ network.label_head.weight.T + network.label_head.bias
    gold = torch.tensor([LABELS.index(answer) for answer in answers])
    expected = torch.logsumexp(logits, -1) - logits[torch.arange(len(gold)), gold]
    assert torch.allclose(both - alone, 0.5 * expected, atol=1e-4)

    scores = network.score(PROMPTS, LABELS).sums
    with torch.no_grad():
        network.label_head.weight.fill_(100.0)
    assert torch.equal(network.score(PROMPTS, LABELS).sums, scores)


def test_a_general_model_with_a_label_head_is_where_another_task_starts(tokenizer, tmp_path):
    """Its weights are saved without the head, whose width belongs to the other inventory."""
    first, second = (relation_generator(tokenizer) for _ in range(2))
    first.network.expect(["part of", "located in"])
    second.network.expect(LABELS)
    first.save_weights(tmp_path)
    second.load_weights(tmp_path)
    assert torch.equal(first.network.decoder.pieces.weight, second.network.decoder.pieces.weight)
    assert second.network.label_head.out_features == len(LABELS)


def test_shapes_do_not_depend_on_the_inventory(tokenizer):
    """So that a general model trained on other relations can be loaded for these."""
    network = build(tokenizer).eval()
    other = (
        "part of",
        "located in or next to body of water",
        "gene_found_in_organism",
        "USED-FOR",
        "per:city_of_birth",
    )
    assert network.score(PROMPTS[:1], other).sums.shape == (1, 5)
    assert network.score(PROMPTS[:1], LABELS).sums.shape == (1, 4)


def test_an_answer_longer_than_the_positions_is_refused(tokenizer):
    network = build(tokenizer, max_answer_pieces=6)
    with pytest.raises(ValueError, match="at most 6"):
        network.score(PROMPTS[:1], ["zzzzzzzz"])
    assert len(network.generate(PROMPTS[:1], max_tokens=50)) == 1


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"frozen_layers": 3}, "frozen_layers is 3 but the encoder has 2"),
        ({"frozen_layers": -1}, "frozen_layers"),
        ({"decoder_layers": 0}, "decoder_layers"),
        ({"decoder_heads": 5}, "decoder_heads"),
        ({"decoder_dropout": 1.0}, "decoder_dropout"),
        ({"max_answer_pieces": 0}, "max_answer_pieces"),
        ({"label_head_weight": -1.0}, "label_head_weight"),
        ({"tag_pieces": ["["]}, "tag_pieces"),
        ({"tag_pieces": ["[", "]", "{", "no such piece"]}, "no such piece"),
        ({"weights": "does/not/exist/at all"}, "does/not/exist"),
    ],
)
def test_bad_options_are_refused(options, said, tokenizer):
    with pytest.raises((ValueError, FileNotFoundError), match=said):
        build(tokenizer, **options)
