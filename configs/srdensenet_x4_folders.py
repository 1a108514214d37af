"""SRDenseNet_All x4 from nothing but folders of HR images.

    python tools/train.py configs/srdensenet_x4_folders.py \
        --cfg-options train_dataloader.dataset.data_root="['/images/a','/images/b']"
"""
_base_ = [
    '_base_/runtime.py',
    '_base_/models/srdensenet_x4.py',
    '_base_/datasets/hr_folders_x4.py',
    '_base_/schedules/cosine_300k.py',
]
