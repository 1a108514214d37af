# Trained on DIV2K, validated on Set5, tested on Set5 and Set14.
_base_ = ['./div2k_train.py', './sisr_x4.py']
