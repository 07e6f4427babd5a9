"""Fine-tuning of a backbone on class folders of photos.

`trainer.train` runs a whole training; `resume` continues an interrupted one.
"""
