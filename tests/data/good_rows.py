"""One good row for every reader of rows, by module and name; test_bad_rows spoils them."""

TALK = [{"role": "user", "content": "Who?"}, {"role": "assistant", "content": "Ada."}]
TOKENS = ["Ada", "Byron", "died", "in", "London", "."]

GOOD = {
    "data.relations.formats.tagged_row": {"id": 7, "sentence": "<e1>Ada</e1> left <e2>Rome</e2>.", "relation": "Other"},
    "data.relations.formats.token_row": {
        "tokens": TOKENS, "h": ["ada", "Q1", [[0, 1]]], "t": ["london", "Q2", [[4]]], "relation": "P1", "name": "Other",
    },
    "data.relations.tacred._example": {
        "id": "a", "token": TOKENS, "subj_start": 0, "subj_end": 1, "obj_start": 4, "obj_end": 4, "relation": "Other",
    },
    "data.relations.tacred._patch": {"id": "a", "relation": "Other"},
    "data.relations.redocred._document": {
        "title": "t", "sents": [TOKENS],
        "vertexSet": [[{"pos": [0, 2], "sent_id": 0}], [{"pos": [4, 5], "sent_id": 0}]],
        "labels": [{"h": 0, "t": 1, "r": "P20"}],
    },
    "data.relations.scierc._example": {"text": "[[ a ]] of << b >> .", "label": "Other"},
    "data.rag.question_sets.gold_row": {
        "id": "a", "question": "Who?", "answers": ["Ada"], "gold": {"title": "T", "text": "By Ada."},
    },
    "data.rag.question_sets.open_row": {"id": "a", "question": "Who?", "answers": ["Ada"]},
    "data.rag.question_sets.paragraphs_row": {
        "id": "a", "question": "Who?", "answers": ["Ada"],
        "paragraphs": [{"title": "T", "text": "By Ada.", "is_supporting": True}],
    },
    "data.rag.question_sets.abstract_row": {"id": 1, "question": "?", "labels": ["AIM"], "contexts": ["a"], "answer": "no"},  # noqa: E501
    "data.rag.question_sets.document_row": {
        "doc_id": "d", "context": "By Ada.",
        "qas": [{"id": 7, "question": "Who?", "answers": [{"text": "Ada", "answer_start": 3}]}],
    },
    "data.rag.question_sets.squad_row": {
        "id": 1, "title": "A_b", "context": "By Ada.", "question": "Who?", "answers": [{"text": "Ada"}],
    },
    "data.rag.question_sets.qed_row": {
        "id": 1, "title": "T", "paragraph": "By Ada.", "question": "Who?", "answers": [["Ada"], "A."],
    },
    "data.rag.question_sets.key_value_row": {"ordered_kv_records": [["k", "v"], ["l", "w"]], "key": "l", "value": "w"},
    "data.rag.question_sets.snippets_row": {
        "question_id": "a", "question": "Who?", "ground_truth": ["Ada"], "context": [{"title": "T", "text": "x"}, "y"],
    },
    "data.rag.question_sets.choices_row": {"question": "?", "choices": ["red", "blue"], "answer": 1, "subject": "art"},
    "data.rag.corpus.titled_row": {"id": "a", "title": "T", "text": "By Ada."},
    "data.rag.corpus.contents_row": {"id": "a", "contents": '"T"\nBy Ada.'},
    "data.preferences.text_rows.alpaca": {"instruction": "Add.", "input": "1 2", "output": "3"},
    "data.preferences.text_rows.messages": {"messages": TALK},
    "data.preferences.text_rows.llmbar": {"input": "q", "output_1": "x", "output_2": "y", "label": 1, "subset": "s"},
    "data.preferences.text_rows.pandalm": {
        "instruction": "i", "input": "", "response1": "a", "response2": "b", "cmp_key": "x",
        "annotator1": 1, "annotator2": 1, "annotator3": 2,
    },
    "data.preferences.text_rows.qa_feedback": {"question": "q", "responses": list("abcd"), "preference": [0, 1, 2, 1, 0, 2]},  # noqa: E501
    "data.preferences.text_rows.persona": {"behaviour": "b", "question": "q", "matching": " Yes", "not_matching": " No"},  # noqa: E501
    "data.preferences.text_rows.binarised": {"prompt": "q", "chosen": TALK, "rejected": [TALK[0], {**TALK[1], "content": "Bo."}]},  # noqa: E501
    "data.preferences.pair_rows.preference_row": {"prompt": "q", "chosen": "x", "rejected": "y", "score_chosen": 1.0},
    "data.reasoning.problem_sets.grade_school_row": {"question": "q", "answer": 2.0, "solution": "s"},
    "data.reasoning.problem_sets.competition_row": {"problem": "q", "answer": "2", "type": "Algebra"},
    "data.reasoning.problem_sets.hand_row": {"numbers": [1, 1, 4, 6]},
    "data.reasoning.problem_sets.chat_row": {"prompt": TALK[:1], "target": TALK[1:], "reward_model": {"ground_truth": "2"}},  # noqa: E501
    "data.reasoning.problem_sets.olympiad_row": {"question": "q", "final_answer": ["$2$"]},
    "data.reasoning.problem_sets.choice_row": {
        "question": "q", "choices": {"text": ["x", "y"], "label": ["A", "B"]}, "answerKey": "B",
    },
    "data.reasoning.problem_sets.options_row": {"question": "q", "options": ["x", "y"], "answer_index": 1, "category": "c"},  # noqa: E501
    "data.reasoning.problem_sets.diamond_row": {
        "Question": "q", "Correct Answer": "x", **{f"Incorrect Answer {number}": str(number) for number in (1, 2, 3)},
    },
    "data.preferences.judged_set.judged_row": {"instruction": "i", "output": "o"},
    "data.endpoints.lm_eval_tasks._logged": {"filter": "none", "doc_id": 3, "filtered_resps": ["x"], "acc": 1.0},
}  # fmt: skip
