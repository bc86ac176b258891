"""The rules of a run folder, by what they are about; `RULES` in runner/judgement/verify.py has them all, by name."""
