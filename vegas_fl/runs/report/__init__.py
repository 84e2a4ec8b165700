"""A run's folder as one self-contained page, and several of them side by side.

| file | what it does |
|---|---|
| ``read.py`` | ``runs/<run>/`` → :class:`~vegas_fl.runs.report.read.Run`, even if files are missing or damaged |
| ``blocks.py`` | what sections consist of: tables, figures, text |
| ``adapters.py``, ``generators.py``, ``pictures.py``, ``flow.py`` | the page's sections |
| ``charts.py`` | matplotlib charts as SVG |
| ``page.py``, ``template.py`` | the page |
| ``table.py`` | the table printed when a run ends |

Only the run's folder and the folder of its pictures are read, so a page can be made again at any time.
"""
