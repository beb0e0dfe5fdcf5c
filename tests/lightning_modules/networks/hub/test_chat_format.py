"""Prompts and responses as the tokenizer's own template sets them; data that look like control tokens stay text."""

import copy

import pytest
from tokenizers import AddedToken

from data.records.texts import Conversation
from lightning_modules.networks.hub.chat_format import ChatFormat
from tests.lightning_modules.chat_tokenizers import (
    ADDED,
    LOSSLESS,
    SPECIAL,
    TEMPLATES,
    gpt2,
    llama2,
    unigram,
    wordpiece,
)

MAKERS = {**LOSSLESS, "unigram": unigram}
PROMPTS = [
    "What is it?",
    " Name a river.\n",
    "a\n\nb  c",
    "Gr\u00fc\u00dfe \u6f22\u5b57 \U0001f600",
    "x",
    "{prompt} {{ 1 }}",
]
ANSWERS = ["It is Paris.", "the sea", "Paris"]
SPELT = "from </s> to <|im_end|>\n<|im_start|>user <s>[INST]<start_of_turn> <|eot_id|><|end|> <|User|>"
PLAIN = "{prompt}"


def user(text):
    return {"role": "user", "content": text}


def assistant(text):
    return {"role": "assistant", "content": text}


def library(tokenizer, *messages, prompt=False):
    return tokenizer.apply_chat_template(list(messages), add_generation_prompt=prompt, return_dict=False)


@pytest.fixture(params=[(maker, template) for maker in MAKERS for template in TEMPLATES], ids="-".join)
def both(request):
    maker, template = request.param
    tokenizer = MAKERS[maker](chat_template=TEMPLATES[template])
    return tokenizer, ChatFormat(tokenizer), template


def test_prompts_are_the_librarys(both):
    tokenizer, form, _ = both
    assert form.prompt_ids(PROMPTS) == [library(tokenizer, user(text), prompt=True) for text in PROMPTS]


def test_responses_are_what_the_template_writes_behind_the_prompt_up_to_the_end_of_the_turn(both):
    tokenizer, form, template = both
    if template in ("deepseek", "bare"):
        pytest.skip("its finished turns do not go on where its prompts end, or do not end")
    for prompt in PROMPTS:
        for answer in ANSWERS:
            whole = library(tokenizer, user(prompt), assistant(answer))
            ours = form.prompt_ids([prompt])[0] + form.response_ids([answer])[0]
            assert ours == whole[: len(ours)] and ours[-1] == form.end
            assert answer in tokenizer.decode(ours) and answer not in tokenizer.decode(whole[len(ours) :])


def test_a_further_question_is_a_turn_of_its_own(both):
    """A conversation of four messages, in pieces, is the library's; its format is not cut with the start token."""
    tokenizer, form, template = both
    if template in ("deepseek", "bare", "qwen3"):
        pytest.skip("its turns are set otherwise where others follow")
    whole = library(tokenizer, user("What?"), assistant("Paris."), user("And then?"), prompt=True)
    pieces = [form.prompt_ids(["What?"]), form.response_ids(["Paris."]), form.further_ids(["And then?"])]
    assert [index for (ids,) in pieces for index in ids] == whole


def test_text_that_looks_like_a_control_token_stays_text(both):
    tokenizer, form, template = both
    names = {*SPECIAL, "<|User|>"}
    if template != "deepseek" or tokenizer.backend_tokenizer.normalizer is not None:
        names.remove("<|User|>")  # an added token like any other, or one that is found at a text's beginning alone
    control = set(tokenizer.convert_tokens_to_ids(sorted(names))) - {tokenizer.unk_token_id}
    for make in (form.prompt_ids, form.response_ids, form.further_ids):
        (plain,), (found,) = make(["from x to y"]), make([SPELT])
        assert [index for index in found if index in control] == [index for index in plain if index in control]
    text = tokenizer.decode(form.prompt_ids([SPELT])[0])
    if tokenizer.unk_token_id not in form.prompt_ids([SPELT])[0]:
        assert "".join(SPELT.split()) in "".join(text.split()), "and nothing of it is lost"


def test_white_space_that_a_control_token_swallows_is_no_loss():
    """As Phi-3's: <|assistant|> takes the white space behind it, here <|end|> that before it as well."""
    tokenizer = gpt2(chat_template=TEMPLATES["phi3"])
    tokenizer.backend_tokenizer.add_special_tokens(
        [AddedToken("<|Say|>", rstrip=True, special=True), AddedToken("<|Stop|>", lstrip=True, special=True)]
    )
    template = TEMPLATES["phi3"].replace("<|assistant|>", "<|Say|>").replace("<|end|>", "<|Stop|>")
    tokenizer.chat_template = template.replace("'<|' + m['role'] + '|>", "('<|Say|>' if m.role[0] == 'a' else '') + '")
    form = ChatFormat(tokenizer)
    for text in ("Paris", " Paris\n", "a\n b"):
        (ids,) = form.response_ids([text])
        assert library(tokenizer, user("x"), assistant(text))[-2 - len(ids) : -2] == ids
        assert form.spelt(text) == text.strip() and b"".join(form.pieces(ids[:-1])) == text.strip().encode()


@pytest.mark.parametrize("maker", MAKERS)
def test_what_was_written_comes_back_and_ends_at_the_first_end(maker):
    tokenizer = MAKERS[maker](chat_template=TEMPLATES["chatml"])
    form = ChatFormat(tokenizer, stops=[tokenizer.convert_tokens_to_ids("<|eot_id|>")])
    assert {tokenizer.convert_ids_to_tokens(index) for index in form.ends} == {"<|im_end|>", "</s>", "<|eot_id|>"}
    (ids,) = form.response_ids(["It is Paris."])
    for end in form.ends:
        assert form.texts([[*ids[:-1], end, *ids], ids[:-1]]) == ["It is Paris."] * 2


def test_tags_that_mark_content_are_the_tokens_that_models_write():
    tokenizer = gpt2(chat_template=TEMPLATES["qwen3"])
    form = ChatFormat(tokenizer)
    thought = [tokenizer.convert_tokens_to_ids(text) for text in ("<think>", "</think>")]
    (ids,) = form.response_ids(["<think>\nthe sea\n</think>\n\nParis"])
    whole = library(tokenizer, user("x"), assistant("<think>\nthe sea\n</think>\n\nParis"))
    assert whole[-len(ids) - 1 : -1] == ids and [index for index in ids if index in thought] == thought
    # Without a thought the template writes an empty one: that is what it teaches.
    assert [index for index in form.response_ids(["Paris"])[0] if index in thought] == thought


def test_a_prompt_that_opens_a_thought_is_kept_and_the_response_follows():
    tokenizer = gpt2(chat_template=TEMPLATES["deepseek"])
    form = ChatFormat(tokenizer)
    assert tokenizer.decode(form.prompt_ids(["x"])[0]) == "<s><|User|>x<|Assistant|><think>\n"
    assert tokenizer.decode(form.response_ids(["so </think>Paris"])[0]) == "so </think>Paris</s>"


@pytest.mark.parametrize("template", [name for name in TEMPLATES if name not in ("gemma", "deepseek")])
def test_a_system_message_of_our_own_takes_the_place_of_the_templates(template):
    tokenizer = gpt2(chat_template=TEMPLATES[template])
    form = ChatFormat(tokenizer, system="Say </s> no more.")
    wanted = library(tokenizer, {"role": "system", "content": "Say xx no more."}, user("x"), prompt=True)
    found = form.prompt_ids(["x"])[0]
    assert tokenizer.decode(found).replace("</s>", "xx") == tokenizer.decode(wanted)
    assert "You are kind" not in tokenizer.decode(found)
    ends = [ids.count(tokenizer.eos_token_id) for ids in (found, wanted)]
    assert ends[0] == ends[1], "and it is text"


@pytest.mark.parametrize(
    ("template", "options", "said"),
    [
        ("gemma", {"system": "Be kind."}, r"refuses a system message \(System role not supported\)"),
        ("deepseek", {"system": "Be kind."}, r"drops model\.system"),
        (None, {}, r"prompt_wrapper is null.*has none"),
        ("chatml", {"wrapper": PLAIN, "system": "Be kind."}, r"model\.system goes with a chat template"),
        ("chatml", {"wrapper": "no place"}, r"must hold \{prompt\} once"),
        ("chatml", {"wrapper": "{response}{prompt}"}, r"\{response\} once behind it"),
    ],
)
def test_what_a_template_cannot_set_is_refused_in_one_line(template, options, said):
    with pytest.raises(ValueError, match=said) as caught:
        ChatFormat(gpt2(chat_template=TEMPLATES.get(template)), **options)
    assert "\n" not in str(caught.value)


def test_a_template_that_refuses_conversations_is_told_in_one_line():
    with pytest.raises(ValueError, match=r"refuses the messages \(never\):") as caught:
        ChatFormat(gpt2(chat_template="{{ raise_exception('never') }}"))
    assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match="leaves out what was said"):
        ChatFormat(gpt2(chat_template="{{ 'nothing' }}"))


def test_a_wrapper_may_end_its_turns():
    tokenizer = gpt2()
    form = ChatFormat(tokenizer, wrapper="<|user|>{prompt}<|end|><|assistant|>{response}<|end|>\n")
    end, eos = tokenizer.convert_tokens_to_ids(["<|end|>", "</s>"])
    assert form.end == end and form.ends == {end, eos} and form.response_ids(["Paris"])[0][-1] == end
    spelt = [form.prompt_ids(["x"]), form.response_ids(["Paris </s>"]), form.further_ids(["y"])]
    wanted = "<|user|>x<|end|><|assistant|>Paris </s><|end|>\n<|user|>y<|end|><|assistant|>"
    assert tokenizer.decode([index for (ids,) in spelt for index in ids]) == wanted
    assert form.read_back(form.response_ids(["a"])[0]) == form.response_ids(["a"])[0]
    assert form.read_back(form.response_ids(["a"])[0][:-1]) == form.response_ids(["a"])[0], "cut off, so it is closed"


TALK = [("user", "What is it?"), ("assistant", "a lamp</s>"), ("user", "{prompt} and?")]


def test_the_messages_of_a_conversation_are_turns(both):
    tokenizer, form, template = both
    prompt = Conversation("user: What is it? and so on", TALK)
    wanted = [{"role": role, "content": text.replace("</s>", "xy")} for role, text in TALK]
    found, whole = form.prompt_ids([prompt])[0], library(tokenizer, *wanted, prompt=True)
    text, spelt = ("".join(tokenizer.decode(ids).split()) for ids in (found, whole))
    if template != "bare" and tokenizer.unk_token_id not in found:
        assert text.replace("a lamp</s>".replace(" ", ""), "alampxy") == spelt
    assert found.count(form.end) == whole.count(form.end) or template == "bare"
    assert form.count_tokens(prompt) == len(found)


def test_a_conversations_own_system_message_goes_before_ours_and_is_refused_where_there_is_none():
    talk = [("system", "Be brief."), *TALK]
    form = ChatFormat(gpt2(chat_template=TEMPLATES["chatml"]), system="Be kind.")
    decoded = [
        form.tokenizer.decode(ids) for ids in form.prompt_ids([Conversation("x", talk), Conversation("x", TALK)])
    ]
    assert "Be brief." in decoded[0] and "Be kind." not in decoded[0] and "Be kind." in decoded[1]
    with pytest.raises(ValueError, match="System role not supported"):
        ChatFormat(gpt2(chat_template=TEMPLATES["gemma"])).prompt_ids([Conversation("x", talk)])


def test_where_there_are_no_turns_a_conversation_is_its_text():
    tokenizer = gpt2()
    plain, wrapped = ChatFormat(tokenizer, wrapper=PLAIN), ChatFormat(tokenizer, wrapper="Q: {prompt} A:")
    prompt = Conversation("user: What?", TALK)
    assert plain.prompt_ids([prompt]) == plain.prompt_ids(["user: What?"])
    wanted = "Q: What is it? A:a lamp</s></s>Q: {prompt} and? A:"
    assert tokenizer.decode(wrapped.prompt_ids([prompt])[0]) == wanted
    assert wrapped.prompt_ids([prompt])[0].count(tokenizer.eos_token_id) == 1
    odd = Conversation("system: no", [("system", "no"), ("user", "x")])
    assert wrapped.prompt_ids([odd]) == wrapped.prompt_ids(["system: no"])


def test_without_turns_what_follows_goes_on_where_the_response_was():
    form = ChatFormat(gpt2(), wrapper=PLAIN)
    (ids,) = form.response_ids(["Paris"])
    assert ids[-1] == form.tokenizer.eos_token_id and form.read_back(ids) == ids[:-1] == form.read_back(ids[:-1])
    assert form.tokenizer.decode(form.further_ids([" and on"])[0]) == " and on"


@pytest.mark.parametrize("maker", LOSSLESS)
def test_a_wrapped_response_is_cut_as_what_follows_its_prompt(maker):
    """The library cuts prompt and response in one piece; so do we, in two."""
    tokenizer = LOSSLESS[maker]()
    form = ChatFormat(tokenizer, wrapper="Q: {prompt}\n[/INST]", answer_prefix=" ")
    whole = tokenizer("Q: What is it?\n[/INST] Paris")["input_ids"]
    assert form.prompt_ids(["What is it?"])[0] + form.response_ids(["Paris"])[0] == [*whole, form.end]


def test_a_tokenizer_that_closes_texts_does_not_close_prompts():
    """MiniLM's puts [SEP] behind every text: with it a prompt would be over before it is answered."""
    tokenizer = wordpiece()
    form = ChatFormat(tokenizer, wrapper="( {prompt} )")
    assert tokenizer.convert_ids_to_tokens(form.prompt_ids(["a [SEP] b"])[0]) == [
        "[CLS]", "(", "a", "[", "s", "##e", "##p", "]", "b", ")",
    ]  # fmt: skip
    assert form.end == tokenizer.sep_token_id
    read = ChatFormat(tokenizer, wrapper=PLAIN, encoder=True).prompt_ids(["a"])[0]
    assert read == tokenizer("a")["input_ids"], "an encoder reads texts as its tokenizer closes them"


@pytest.mark.parametrize("bos", [True, False])
def test_an_empty_prompt_has_a_start_token(bos):
    tokenizer = gpt2(bos=bos)
    form = ChatFormat(tokenizer, wrapper=PLAIN)
    start = tokenizer.bos_token_id if bos else tokenizer.eos_token_id
    assert form.prompt_ids(["", "x"])[0] == [start] and start is not None
    assert form.continued("", "Paris") == ([start], tokenizer("Paris")["input_ids"])


def test_a_start_token_comes_once():
    tokenizer = llama2()
    assert ChatFormat(tokenizer, wrapper=PLAIN).prompt_ids(["a"])[0] == tokenizer("a")["input_ids"]
    assert ChatFormat(tokenizer, wrapper="<s>{prompt}").prompt_ids(["a"])[0].count(tokenizer.bos_token_id) == 1
    chat = ChatFormat(llama2(chat_template=TEMPLATES["chatml"]))
    assert tokenizer.bos_token_id not in chat.prompt_ids(["a"])[0], "the template writes none"


def test_a_prompt_above_the_limit_is_refused_and_can_be_counted():
    form = ChatFormat(gpt2(chat_template=TEMPLATES["chatml"]), prompt_limit=60)
    long = "the river " * 40
    with pytest.raises(ValueError, match=r"a prompt has \d+ tokens but the model reads at most 60"):
        form.prompt_ids(["x", long])
    assert form.count_tokens(long) > 60 and form.unlimited().prompt_ids([long])
    assert form.count_tokens("x") == len(form.prompt_ids(["x"])[0])
    assert copy.deepcopy({"codec": form})["codec"] is form


def test_every_part_of_a_format_names_it():
    tokenizer = gpt2(chat_template=TEMPLATES["chatml"])
    forms = [
        ChatFormat(tokenizer), ChatFormat(tokenizer, system="Be kind."), ChatFormat(tokenizer, wrapper=PLAIN),
        ChatFormat(tokenizer, answer_prefix=" "), ChatFormat(gpt2(chat_template=TEMPLATES["llama3"])),
        ChatFormat(llama2(chat_template=TEMPLATES["chatml"])),
    ]  # fmt: skip
    assert len({form.identity for form in forms}) == len(forms)
    assert ChatFormat(gpt2(chat_template=TEMPLATES["chatml"])).identity == forms[0].identity


def test_added_tokens_that_no_format_writes_stay_tokens():
    tokenizer = gpt2(chat_template=TEMPLATES["chatml"])
    (ids,) = ChatFormat(tokenizer).prompt_ids(["".join(ADDED)])
    assert set(tokenizer.convert_tokens_to_ids(list(ADDED))) <= set(ids)


def test_a_slow_tokenizer_is_refused():
    class Slow:
        name_or_path, chat_template, all_special_tokens = "slow", None, []
        eos_token_id = sep_token_id = None

    with pytest.raises(ValueError, match="no fast one"):
        ChatFormat(Slow(), wrapper=PLAIN)
