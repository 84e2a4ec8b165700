"""The page's markup and style, in a Python file because Flower does not pack HTML into the app a server runs."""

from typing import Any

PAGE = """\
{%- macro table(t) -%}
<div class="scroll" tabindex="0"><table{% if t.id %} id="{{ t.id }}"{% endif %}>
<thead>
{%- if t.groups %}
<tr>{% for name, span in t.groups %}<th class="group" colspan="{{ span }}">{{ name }}</th>{% endfor %}</tr>
{%- endif %}
<tr>{% for name in t.head %}<th{% if loop.index > t.words %} class="n"{% endif %}>{{ name }}</th>{% endfor %}</tr>
</thead>
<tbody>
{%- for row in t.rows %}
<tr{% if loop.index0 in t.strong %} class="strong"{% endif %}>
{%- for cell in row %}
{%- set kind = "n" if loop.index > t.words else "w" if cell | length < 25 else "" -%}
<td class="{{ kind }}">{{ cell }}</td>{% endfor %}</tr>
{%- endfor %}
</tbody></table></div>
{%- endmacro -%}

{%- macro figure(f) -%}
<figure>
{%- if f.caption %}<figcaption>{{ f.caption }}</figcaption>{% endif %}
{%- if f.uri %}
<img src="{{ f.uri }}" alt="{{ f.alt }}"{% if f.width %} width="{{ f.width }}" height="{{ f.height }}"{% endif %}>
{%- else %}<p class="hint">{{ f.alt }}</p>{% endif -%}
</figure>
{%- endmacro -%}

{%- macro blocks(list) -%}
{% for b in list %}
{% if b.kind == "table" %}{{ table(b) }}
{% elif b.kind == "figures" %}
<div class="row">
{%- if b.title %}<h3>{{ b.title }}</h3>{% endif %}
<div class="{{ b.style }}" style="--columns: {{ b.figures | length }}">
{% for f in b.figures %}{{ figure(f) }}
{% endfor %}</div></div>
{% elif b.kind == "fold" %}
<details><summary>{{ b.title }}</summary>{{ blocks(b.blocks) }}</details>
{% elif b.kind == "verdict" %}<p class="verdict"><b>{{ b.answer }}</b> {{ b.text }}</p>
{% elif b.kind == "verbatim" %}<pre tabindex="0">{{ b.text }}</pre>
{% else %}<p class="hint">{{ b.text }}</p>
{% endif %}
{% endfor %}
{%- endmacro -%}

<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<link rel="icon" href="data:,">
<title>{{ title }}</title>
<style>
{{ style | safe }}
</style>
</head>
<body>
<main>
<header>
<p class="brand">vegas-fl</p>
<h1>{{ title }}</h1>
<p class="sub">{{ subtitle }}</p>
</header>
{% if notes %}
<section class="notes" id="notes">
<ul>
{% for note in notes %}<li>{{ note }}</li>
{% endfor %}</ul>
</section>
{% endif %}
{% if cards %}
<section class="cards">
{% for value, caption in cards %}<div class="card"><b>{{ value }}</b><span>{{ caption }}</span></div>
{% endfor %}</section>
{% endif %}
{% for section in sections %}
<section id="{{ section.id }}">
<h2>{{ section.title }}</h2>
{{ blocks(section.blocks) }}
</section>
{% endfor %}
</main>
</body>
</html>
"""

STYLE = """\
:root {
  color-scheme: light dark;
  --page: #fff; --ink: #1d232b; --soft: #5d6672; --line: #d9dee5; --card: #f4f6f9; --accent: #2c6ca6;
  --warn: #fdf3e1; --edge: #e08a2e;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #14181e; --ink: #dde2ea; --soft: #98a2b0; --line: #2d3540; --card: #1c222a; --accent: #7db4e6;
    --warn: #2c2417; --edge: #c17a2b;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0; background: var(--page); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif;
}
main { max-width: 78rem; margin: 0 auto; padding: 2rem 1.25rem 4rem; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0; overflow-wrap: anywhere; }
h2 { font-size: 1.25rem; margin: 0 0 .75rem; }
h3 { font-size: 1rem; margin: 0 0 .4rem; overflow-wrap: anywhere; }
header { margin-bottom: 1.5rem; }
.brand { color: var(--accent); font-weight: 600; margin: 0 0 .25rem; }
.sub, .hint, figcaption { color: var(--soft); }
.sub { margin: .4rem 0 0; overflow-wrap: anywhere; }
.hint { margin: .5rem 0; font-size: .9rem; max-width: 46rem; overflow-wrap: anywhere; }
.verdict { margin: 0 0 1rem; font-size: 1.05rem; max-width: 52rem; overflow-wrap: anywhere; }
section { margin: 0 0 1.75rem; padding-top: 1.5rem; border-top: 1px solid var(--line); }
section.cards, section.notes { border: 0; padding-top: 0; }
.notes { background: var(--warn); border-left: 4px solid var(--edge); border-radius: 4px; padding: .6rem 1rem; }
section.notes { padding-top: .6rem; border-left: 4px solid var(--edge); }
.notes ul { margin: 0; padding-left: 1.1rem; overflow-wrap: anywhere; }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(10rem, 1fr)); gap: .75rem; }
.card { background: var(--card); border-radius: 8px; padding: .7rem .8rem; }
.card b { display: block; white-space: nowrap; font-size: 1.15rem; font-variant-numeric: tabular-nums; }
.card span { color: var(--soft); font-size: .85rem; line-height: 1.35; display: block; }
.scroll { overflow-x: auto; margin: 0 0 .75rem; }
table { border-collapse: collapse; font-size: .92rem; font-variant-numeric: tabular-nums; }
th { font-weight: 600; color: var(--soft); font-size: .82rem; vertical-align: bottom; }
th, td { text-align: left; padding: .32rem .9rem .32rem 0; border-bottom: 1px solid var(--line); }
td { overflow-wrap: break-word; min-width: 2.6rem; max-width: 40rem; }
td[class=""] { overflow-wrap: anywhere; min-width: 9rem; }
td:first-child, th:first-child { padding-left: .1rem; }
.n { text-align: right; }
.n, .w { white-space: nowrap; }
.group { text-align: center; border-bottom: 0; padding-bottom: 0; }
.strong td { font-weight: 700; }
.row { margin: 0 0 1rem; }
figure { margin: 0; min-width: 0; break-inside: avoid; }
figcaption { font-size: .85rem; margin: 0 0 .25rem; }
img { display: block; max-width: 100%; height: auto; }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 24rem), 1fr)); gap: 1.25rem; }
.plots img { width: 100%; max-width: 34rem; }
.strips {
  --share: calc((100% - (var(--columns) - 1) * .75rem) / var(--columns));
  display: grid; gap: .75rem; grid-template-columns: repeat(auto-fit, minmax(min(100%, max(9rem, var(--share))), 1fr));
}
.strips img { border-radius: 4px; }
details { margin: .5rem 0; }
summary { cursor: pointer; color: var(--accent); padding: .25rem 0; }
pre {
  background: var(--card); border-radius: 8px; padding: 1rem; overflow-x: auto; margin: .25rem 0;
  font: .82rem/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace;
}
@media (max-width: 40rem) {
  main { padding: 1.25rem .9rem 3rem; }
  h1 { font-size: 1.5rem; }
  .cards { grid-template-columns: 1fr 1fr; }
  th, td { padding-right: .7rem; }
}
@media print {
  :root { --page: #fff; --ink: #000; --soft: #444; --line: #bbb; --card: #fff; --accent: #000; --warn: #fff; }
  body { font-size: 10.5pt; }
  main { max-width: none; padding: 0; }
  .card { border: 1px solid var(--line); }
  .scroll, pre { overflow: visible; white-space: pre-wrap; }
  table { font-size: 8.5pt; }
  .scroll th, .scroll td { padding-right: .45rem; min-width: 0; white-space: normal; }
  .plots { grid-template-columns: 1fr 1fr; }
  h2, h3 { break-after: avoid; }
  tr, .row { break-inside: avoid; }
  details::details-content { content-visibility: visible; height: auto; }
}
"""


def render(**values: Any) -> str:
    """The page with its values, which are escaped: they are text, never markup."""
    from jinja2 import Environment, StrictUndefined

    jinja = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return jinja.from_string(PAGE).render(style=STYLE, **values)
