"""A run's folder as one self-contained page, and several of them side by side.

| file | what it does |
|---|---|
| ``read.py`` | ``runs/<run>/`` → :class:`~vegas_fl.runs.report.read.Run`, whatever is missing or damaged |
| ``figures.py`` | matplotlib pictures as SVG |
| ``pictures.py`` | strips of the nodes' pictures |
| ``adapters.py``, ``generators.py``, ``drawings.py``, ``flow.py`` | the page's sections, of blocks of ``blocks.py`` |
| ``page.py``, ``template.py`` | the page |
| ``table.py`` | the table printed at a run's end |

Only the run's folder and the folder of its pictures are read, so a page can be made again at any time.
"""
