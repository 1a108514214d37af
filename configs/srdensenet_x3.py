r"""SRDenseNet_All x3, from the published x4 weights to the published x3 file.

    python tools/make_teacher_targets.py TEACHER ... --data data/train/T91 data/train/BSD400 \
        data/train/ImageNet1k-256 data/train/HQ --out data/teachers/x3
    python tools/train.py configs/srdensenet_x3.py

See srdensenet_x4.py for the teachers, and for training without them.
"""
_base_ = [
    '_base_/runtime.py',
    '_base_/models/srdensenet_x4.py',
    '_base_/datasets/hr_folders_x3.py',
    '_base_/schedules/published.py',
]
model = dict(generator=dict(upscale_factor=3))
# Its deconvolutions have stride 2, so that of stride 3 starts untrained.
load_from = 'checkpoints/srdensenet_x4-2708f7eb.pth'

gt_patch_size = 96
train_dataloader = dict(
    batch_size=_base_.batch_size,
    dataset=dict(
        data_root=_base_.train_folders,
        on_bad_image='skip',
        min_size=gt_patch_size,
        teachers=[dict(folder='data/teachers/x3', share=_base_.teacher_share)],
        pipeline=[
            dict(type='RandomPatchPair', scale=3, gt_patch_size=gt_patch_size),
            *_base_.train_pipeline[1:],
        ]))
custom_hooks = [_base_.centre, _base_.revive, _base_.ema]
default_hooks = dict(
    checkpoint=dict(interval=250, max_keep_ckpts=2), logger=dict(interval=50))
env_cfg = dict(cudnn_benchmark=True)

max_iters = 3000
train_cfg = dict(max_iters=max_iters)
param_scheduler = [
    _base_.param_scheduler[0], dict(_base_.param_scheduler[1], end=max_iters)]
