import pytest

from data.verifiers.final_answer import correct, equivalent, final_answer

ACCEPTED = [
    ("1/2", "0.5"),
    ("\\frac{1}{2}", "1/2"),
    ("\\frac12", "\\dfrac{1}{2}"),
    ("\\frac 59", "5/9"),
    ("-\\frac{3}{4}", "-0.75"),
    ("\\frac{-3}{4}", "-\\frac{3}{4}"),
    (".039", "0.0390"),
    ("18", "18.00"),
    ("1000", "1,000"),
    ("10,\\!236", "10236"),
    ("10{,}000", "10,000"),
    ("3\\frac{1}{2}", "3.5"),
    ("3 1/2", "\\frac{7}{2}"),
    ("33 \\frac{1}{3}", "\\frac{100}{3}"),
    ("75\\%", "75%"),
    ("50\\%", "0.5"),
    ("2\\sqrt{3}", "\\sqrt{12}"),
    ("\\sqrt{4}", "2"),
    ("2\\sqrt3", "2 \\sqrt{3}"),
    ("\\frac{\\sqrt{2}}{2}", "\\frac{1}{\\sqrt{2}}"),
    ("\\frac{4}{3}\\pi", "4\\pi/3"),
    ("\\sqrt[3]{16}", "2\\sqrt[3]{2}"),
    ("(x+1)^2", "x^2+2x+1"),
    ("3(x-2)(x+2)", "3x^2-12"),
    ("\\frac{x^2-1}{x-1}", "x+1"),
    ("2ab", "2ba"),
    ("3 - i, -2 + i", "-2+i, 3-i"),
    ("\\frac{3}{2} + \\frac{3}{2} i", "(3+3i)/2"),
    ("(1,2)", "(1, 2)"),
    ("\\left( \\frac12, 3 \\right)", "(0.5,3)"),
    ("[0,1)", "\\left[0, 1\\right)"),
    ("(-\\infty, 3]", "(-\\infty,3]"),
    ("(-\\infty,-2] \\cup [2,\\infty)", "[2,\\infty) \\cup (-\\infty,-2]"),
    ("\\{1,2\\}", "\\{2, 1\\}"),
    ("1,2", "2,1"),
    ("7, -2, \\text{ and } -5", "-5,-2,7"),
    ("\\{1,2\\}", "1, 2"),
    ("5\\text{ cm}", "5"),
    ("5", "5 cm"),
    ("5\\text{ cm}", "5 \\mbox{ cm}"),
    ("\\$5", "5"),
    ("18", "\\$18.00"),
    ("90^\\circ", "90"),
    ("90^{\\circ}", "90\\text{ degrees}"),
    ("x=5", "5"),
    ("5", "x = 5"),
    ("y = 2x+3", "2x+3"),
    ("x^2+y^2=4", "2x^2 + 2y^2 = 8"),
    ("x \\le 3", "3 \\geq x"),
    ("\\text{ellipse}", "Ellipse"),
    ("\\text{(C)}", "C"),
    ("\\text{C}", "(C)"),
    ("\\text{even}", "even"),
    ("B, C", "C, B"),
    ("\\text{A, B}", "A,B"),
    ("\\begin{pmatrix} 1/2 \\\\ 3 \\end{pmatrix}", "\\begin{pmatrix} 0.5 \\\\ 3 \\end{pmatrix}"),
    ("\\sin(x)", "\\sin(x)"),
    ("1 \\pm \\sqrt{2}", "1+\\sqrt{2}, 1-\\sqrt{2}"),
    ("101_2", "101_{2}"),
    ("$12$", "12."),
]

REFUSED = [
    ("1/3", "0.33333333"),
    ("\\sqrt{2}", "1.41421356"),
    ("\\pi", "3.14159"),
    ("50", "0.5"),
    ("75\\%", "75"),
    ("75", "75\\%"),
    ("(1,2)", "(2,1)"),
    ("(1,2)", "[1,2]"),
    ("[0,1)", "[0,1]"),
    ("(1,2)", "1,2"),
    ("(1,2)", "\\{1,2\\}"),
    ("(-\\infty,3)", "(-\\infty,3]"),
    ("-\\infty", "\\infty"),
    ("1,2,3", "1,2"),
    ("1,2", "1,2,3"),
    ("4", "4,5"),
    ("4", "4 or 5"),
    ("5\\text{ cm}", "5\\text{ m}"),
    ("5\\text{ cm}^2", "5\\text{ cm}^3"),
    ("\\$5", "5 cm"),
    ("12", "1 2"),
    ("12", "1,2"),
    ("(1,234)", "1234"),
    ("x^2", "2x"),
    ("(x+1)^2", "x^2+1"),
    ("3\\frac{1}{2}", "\\frac{3}{2}"),
    ("\\frac{1}{2}", "\\frac{2}{1}"),
    ("2", "-2"),
    ("x=5", "x=6"),
    ("x<5", "x>5"),
    ("x<5", "x \\le 5"),
    ("y=x", "y=2x"),
    ("x^2+y^2=4", "x^2+y^2=5"),
    ("\\text{A}", "B"),
    ("\\text{even}", "odd"),
    ("101_2", "101_3"),
    ("101_2", "5"),
    ("2xy", "2"),
    ("2pi", "2"),
    ("2\\pi", "2"),
    ("\\begin{pmatrix} 1 \\\\ 2 \\end{pmatrix}", "\\begin{pmatrix} 2 \\\\ 1 \\end{pmatrix}"),
    ("\\begin{pmatrix} 1 \\\\ 2 \\end{pmatrix}", "\\begin{pmatrix} 1 & 2 \\end{pmatrix}"),
    ("5", ""),
    ("5", "\\frac{5}{0}"),
    ("24", "٢٤"),
    ("24", "２４"),
    ("24", "24\x00"),
    ("24", "0x18"),
    ("24", "2.4e1"),
    ("24", "__import__('os')"),
    ("1", "9^{9^{9}}"),
    ("1", "1" * 600),
    ("1", "(" * 60 + "1" + ")" * 60),
    ("1", "(a+b+c+d+f)^{60}"),
    ("1000", "10,00"),
    ("5", "5 6"),
    ("0", "\\infty-\\infty+1"),
    ("i", "1"),
    ("\\sqrt{-4}", "2"),
    ("\\sin(x)", "\\cos(x)"),
    ("\\log_2 x", "\\log_3 x"),
]


def test_the_table_is_large():
    assert len(ACCEPTED) + len(REFUSED) >= 60


@pytest.mark.parametrize(("gold", "given"), ACCEPTED)
def test_accepted_either_way_round(gold, given):
    assert equivalent(gold, given) and equivalent(given, gold)


@pytest.mark.parametrize(("gold", "given"), REFUSED)
def test_refused_either_way_round(gold, given):
    assert not equivalent(gold, given) and not equivalent(given, gold)


@pytest.mark.parametrize(
    ("response", "answer"),
    [
        ("so \\boxed{4}, no, \\boxed{\\frac{1}{2}}.", "\\frac{1}{2}"),
        ("\\boxed{4} and then \\boxed{5", None),
        ("so\n#### 18", "18"),
        ("#### 3\n#### 18\n", "18"),
        ("The answer is 18.", "18."),
        ("Final answer: $x=2$", "$x=2$"),
        ("I count 18", None),
        ("\\boxed{}", None),
        ("", None),
        ("x" * 100_001 + "\\boxed{4}", None),
    ],
)
def test_final_answers_are_found(response, answer):
    assert final_answer(response) == answer


def test_a_second_box_is_what_counts():
    assert correct("5", "\\boxed{4} \\boxed{5}") and not correct("4", "\\boxed{4} \\boxed{5}")
    assert not correct("4", "\\boxed{4, 5}") and not correct("18", "it is 18")
