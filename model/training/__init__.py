"""Fine-tuning a backbone on class folders of photos.

    options -> data (folders, augmentation) -> engine (epochs) -> checkpoint and run folder

`run.train` ties them together; `state` lets a killed run go on as if nothing had happened.
"""
