"""Reports of finished evaluations.

metrics    from results to a summary
intervals  confidence intervals and pass@k
markdown   tables
page       the HTML report
figure     its chart
compare    two runs, question by question
"""
