# Trained on folders of HR images; validation and tests as everywhere.
_base_ = ['./hr_folders_train.py', './sisr_x4.py']
