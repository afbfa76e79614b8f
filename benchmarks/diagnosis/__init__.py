"""How good `diagnose` is: bugs with their mended twins, healthy runs, and published rules.

| file | what is in it |
|---|---|
| `kit.py` | both frameworks under one set of names |
| `sets.py` | data: scikit-learn's, and generated |
| `runs.py` | `Run`, `Bug`, `Healthy`; the yardstick |
| `development.py`, `scored.py` | the bugs: thresholds may be set on the first half only |
| `healthy*.py` | runs in which nothing is wrong, the published false-alarm traps among them |
| `mismatches.py` | contradictions that must be found before the first step |
| `baselines.py` | rules of five published tools, with their thresholds |
| `measuring.py` | one case to one record |
| `rates.py` | intervals, and the rates over records |
| `table.py` | the table in docs/diagnose.md |
"""
