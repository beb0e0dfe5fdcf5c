"""The style sheet of the HTML format."""

STYLE = """
:root { color-scheme: light dark; --ink: #1c1e21; --soft: #5f6670; --line: #d9dde3; --ground: #fff; --band: #f6f7f9;
  --paper: #1f5fa8; --holds: #1a7f3c; --fails: #b3261e; --undecided: #8a6100; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e8eb; --soft: #9aa3ad; --line: #363b42; --ground: #15171a;
  --band: #1d2024; --paper: #86b6f0; --holds: #6cc78a; --fails: #f28b82; --undecided: #e0b354; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif; }
main { max-width: 72rem; margin: 0 auto; padding: 2.5rem 1.25rem 4rem; }
h1 { font-size: 1.5rem; line-height: 1.25; margin: 0 0 .25rem; font-weight: 650; }
h2 { font-size: 1.1rem; margin: 2.25rem 0 .5rem; font-weight: 650; }
.question { color: var(--soft); margin: 0 0 1.5rem; max-width: 44rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums lining-nums; }
th, td { text-align: left; vertical-align: top; padding: .5rem 1rem .5rem 0; border-bottom: 1px solid var(--line); }
thead th { border-bottom: 2px solid var(--ink); font-weight: 600; vertical-align: bottom; }
tbody th { font-weight: 500; min-width: 12rem; }
tbody tr:hover { background: var(--band); }
.seeds, .number { text-align: right; white-space: nowrap; }
td b { font-weight: 650; }
.rows td b { display: inline-block; min-width: 2.6em; text-align: right; }
.rows .paper, .rows .absent { margin-left: .55em; }
.interval { color: var(--soft); white-space: nowrap; }
.paper { color: var(--paper); font-size: .9em; }
.detail, .absent, .legend, .sources { color: var(--soft); font-size: .87em; }
.legend { max-width: 60rem; }
.sources { padding-left: 1.25rem; margin: .5rem 0 0; }
sup { font-size: .75em; margin-left: .15em; }
.verdict { font-weight: 650; white-space: nowrap; }
.holds { color: var(--holds); } .fails { color: var(--fails); } .undecided { color: var(--undecided); }
svg { display: block; margin-top: .1rem; }
svg line { stroke: currentColor; } svg circle { fill: currentColor; }
svg .zero { stroke: var(--soft); stroke-dasharray: 2 3; } svg .margin { stroke: var(--line); stroke-width: 2; }
svg .reach { stroke-width: 2.5; stroke-linecap: round; }
code { background: var(--band); padding: .15em .4em; border-radius: 4px; }
"""
