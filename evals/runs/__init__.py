"""Running an evaluation: the session, the answerers, the runner, the judge, leakage."""
