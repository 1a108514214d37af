# sisr_x4.py at x8, with images cropped to multiples of 8 instead of the usual 12.
_base_ = './sisr_x4.py'

scale = 8
pairs = dict(img=f'LRbicx{scale}', gt='GTmod8')

val_dataloader = dict(dataset=dict(data_prefix=pairs))
val_evaluator = dict(
    metrics=[dict(metric, crop_border=scale) for metric in _base_.val_evaluator.metrics])
test_dataloader = [dict(loader, dataset=dict(loader.dataset, data_prefix=pairs))
                   for loader in _base_.test_dataloader]
test_evaluator = [
    dict(evaluator, metrics=[dict(metric, crop_border=scale) for metric in evaluator.metrics])
    for evaluator in _base_.test_evaluator]
