r"""SRDenseNet_All x4 from the published weights on: dead maps made new, and taught.

    python tools/make_teacher_targets.py TEACHER ... --data data/train/T91 data/train/BSD400 \
        data/train/HQ --out data/teachers/x4
    python tools/train.py configs/srdensenet_x4_revived.py

For a CPU: two cores with bf16 take less than two hours. docs/training_data.md lists images and
teachers, and docs/training_history.md what it brought.
"""
_base_ = [
    '_base_/runtime.py',
    '_base_/models/srdensenet_x4.py',
    '_base_/datasets/hr_folders_x4.py',
    '_base_/schedules/muon_linear.py',
]
load_from = 'checkpoints/srdensenet_x4-2708f7eb.pth'

gt_patch_size = 128
train_dataloader = dict(
    batch_size=8,
    dataset=dict(
        data_root=['data/train/T91', 'data/train/BSD400', 'data/train/HQ'],
        on_bad_image='skip',
        min_size=gt_patch_size,
        teachers=[dict(folder='data/teachers/x4', share=0.75)],
        pipeline=[
            dict(type='RandomPatchPair', scale=4, gt_patch_size=gt_patch_size),
            *_base_.train_pipeline[1:],
        ]))

optim_wrapper = dict(optimizer=dict(lr=5e-4))
max_iters = 10_000
train_cfg = dict(max_iters=max_iters)
param_scheduler = [
    _base_.param_scheduler[0], dict(_base_.param_scheduler[1], end=max_iters)]
custom_hooks = [*_base_.kept_alive, _base_.ema]
default_hooks = dict(
    checkpoint=dict(interval=250, max_keep_ckpts=2), logger=dict(interval=50))
randomness = dict(seed=0)
