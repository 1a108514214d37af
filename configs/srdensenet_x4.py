r"""SRDenseNet_All x4, from nothing to the published file.

    python tools/make_teacher_targets.py TEACHER ... --data data/train/T91 data/train/BSD400 \
        data/train/ImageNet1k-256 data/train/HQ --out data/teachers/x4
    python tools/train.py configs/srdensenet_x4.py

docs/training_data.md lists images and teachers. To learn from HR alone, without a teacher:
--cfg-options train_dataloader.dataset.teachers="[]". On a GPU, compile=True makes steps faster. On
few CPU cores, take fewer iterations: train_cfg.max_iters=N param_scheduler.1.end=N.
"""
_base_ = [
    '_base_/runtime.py',
    '_base_/models/srdensenet_x4.py',
    '_base_/datasets/hr_folders_x4.py',
    '_base_/schedules/published.py',
]

gt_patch_size = 128
train_dataloader = dict(
    batch_size=_base_.batch_size,
    dataset=dict(
        data_root=_base_.train_folders,
        on_bad_image='skip',
        min_size=gt_patch_size,
        teachers=[dict(folder='data/teachers/x4', share=_base_.teacher_share)],
        pipeline=[
            dict(type='RandomPatchPair', scale=4, gt_patch_size=gt_patch_size),
            *_base_.train_pipeline[1:],
        ]))
custom_hooks = [_base_.centre, _base_.revive, _base_.ema]
default_hooks = dict(
    checkpoint=dict(interval=250, max_keep_ckpts=2), logger=dict(interval=50))
env_cfg = dict(cudnn_benchmark=True)
