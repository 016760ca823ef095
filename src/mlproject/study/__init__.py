"""The study: arms over subjects and seeds, compared in pairs, told in one report.

Its modules meet in one folder of plain files (`design.json`, `scores.csv`, `predictions.csv`, ...), so that the
comparison and the report can be made again, by these modules or by others, without a fit.
"""
