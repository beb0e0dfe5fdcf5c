"""Random models of a few thousand weights, a tokenizer of a hundred words and a corpus of twelve sentences."""

from transformers import BertTokenizerFast

from data.loading.step_loader import StepLoader
from data.records.relations import Neighbour, Prompt, RelationExample
from data.relations.label_refinement import label_of
from lightning_modules.base import Optimiser
from lightning_modules.networks.answerer.marked_generator import MarkedGenerator
from lightning_modules.networks.hub.pretrained import Pretrained

LABELS = ("Cause-Effect(e1,e2)", "Cause-Effect(e2,e1)", "Message-Topic(e1,e2)", "Other")

SENTENCES = (
    ("The <e1>fire</e1> led to the <e2>loss</e2>.", 0),
    ("A <e1>storm</e1> brought <e2>floods</e2>.", 0),
    ("The <e1>smoke</e1> came from a <e2>fire</e2>.", 1),
    ("The <e1>noise</e1> was due to the <e2>engine</e2>.", 1),
    ("A <e1>book</e1> about <e2>war</e2>.", 2),
    ("The <e1>talk</e1> treated <e2>poverty</e2>.", 2),
    ("The <e1>man</e1> saw a <e2>tree</e2>.", 3),
    ("A <e1>cat</e1> near the <e2>window</e2>.", 3),
    ("The <e1>virus</e1> triggers a <e2>fever</e2> in most of the people who carry it.", 0),
    ("The <e1>pain</e1> results from an <e2>injury</e2> that was never treated by a doctor.", 1),
)


def example(index, text, label):
    head, tail = (text.split(f"<{tag}>")[1].split(f"</{tag}>")[0] for tag in ("e1", "e2"))
    return RelationExample(f"train-{index}", text, head, tail, label)


class Corpus:
    """The part of ``data.relations.relation_data.RelationData`` that methods use."""

    def __init__(self, *, seed=0, batch_size=4, labels=LABELS, k=0):
        self.labels = labels
        self.none_label = "Other"
        self.seed = seed
        self.batch_size = batch_size
        self.k = k
        self.collate = None
        self.start_step = 0
        self.count_tokens = None
        self.train = [example(index, text, LABELS[at]) for index, (text, at) in enumerate(SENTENCES)]

    def examples(self, split):
        return self.train

    def lookup(self, name):
        return {one.id: one for one in self.train}[name]

    def neighbours(self, split):
        return [
            [Neighbour(other.id, 1.0 / (1 + abs(at - index))) for at, other in enumerate(self.train) if at != index]
            for index in range(len(self.train))
        ]

    def prompts(self, split, limit=None):
        hits = self.neighbours(split)
        return [
            Prompt(one.id, one.text, one.label, tuple(hit.id for hit in hits[index][: self.k]))
            for index, one in enumerate(self.train)
        ][:limit]

    def label_of(self, output):
        return label_of(output, self.labels)

    @property
    def steps_per_epoch(self):
        return -(-len(self.train) // self.batch_size)

    def train_dataloader(self):
        return StepLoader(
            self.prompts("train"),
            batch_size=self.batch_size,
            seed=self.seed,
            collate=self.collate,
            length=lambda prompt: len(prompt.text),
            start_step=self.start_step,
        )


def write_tokenizer(folder):
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"[]{}().,-/<>=:"]
    letters = "abcdefghijklmnopqrstuvwxyz0123456789"
    words += [*letters, *(f"##{letter}" for letter in letters)]
    words += ["cause", "effect", "message", "topic", "other", "the", "of", "from", "to", "about", "was", "due"]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.txt").write_text("\n".join(words))
    BertTokenizerFast(vocab=str(folder / "vocab.txt")).save_pretrained(folder)
    return folder, len(words)


def optimiser(**options):
    return Optimiser(**{"learning_rate": 3e-3, "warmup": 0.1, **options})


def tiny(kind, tokenizer, **options):
    """A model config of each kind, two layers of width 32."""
    folder, size = tokenizer
    shared = {
        "weights": None,
        "tokenizer": {"weights": str(folder)},
        "optimiser": options.pop("optimiser", optimiser()),
    }
    if kind == "marked":
        sizes = {
            "model_type": "bert",
            "vocab_size": size,
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "intermediate_size": 64,
            "max_position_embeddings": 128,
        }
        return MarkedGenerator(
            **{"architecture": sizes, "decoder_heads": 2, "decoder_feedforward": 64, **shared, **options}
        )
    if kind == "seq2seq":
        sizes = {
            "model_type": "t5",
            "vocab_size": size,
            "d_model": 32,
            "d_kv": 16,
            "d_ff": 64,
            "num_layers": 2,
            "num_heads": 2,
            "decoder_start_token_id": 0,
            "pad_token_id": 0,
            "eos_token_id": 3,
        }
    else:
        sizes = {
            "model_type": "llama",
            "vocab_size": size,
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "pad_token_id": 0,
            "bos_token_id": 2,
            "eos_token_id": 3,
            "max_position_embeddings": 256,
        }
    given = {"prompt_limit": 128, "prompt_wrapper": "{prompt}", **shared, **options}
    return Pretrained(kind=kind, architecture=sizes, **given)


KINDS = ("marked", "seq2seq", "causal")
