# div2k_x4.py at x8: patches of 24 LR pixels as at x4.
_base_ = ['./div2k_train.py', './sisr_x8.py']

changes = dict(
    SetValues=dict(dictionary=dict(scale=8)), PairedRandomCrop=dict(gt_patch_size=192))

train_dataloader = dict(dataset=dict(
    data_prefix=dict(img='DIV2K_train_LR_bicubic/X8_sub'),
    pipeline=[dict(step, **changes.get(step.type, {}))
              for step in _base_.train_dataloader.dataset.pipeline]))
