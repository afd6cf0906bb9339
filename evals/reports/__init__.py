"""Reports of finished evaluations.

metrics      from results to a summary
intervals    confidence intervals and pass@k
cells        tables as cells, and how numbers are written
markdown     the tables of a report
page         the HTML report
figure       its charts
compare      two runs, question by question
turn_limits  accuracy and turns against the turn limit
sweep        the files of a sweep over turn limits
"""
