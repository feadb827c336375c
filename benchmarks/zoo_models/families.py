"""Every family of `keras.applications`, with all kinds of its blocks, as narrow and shallow as its function allows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from benchmarks.zoo_models.entry import ZooModel

_OPTIONS = {"weights": None, "classes": 5}
_SMALL = {"input_shape": (32, 32, 3), **_OPTIONS}


def _named(name: str, **options: Any) -> Callable[[Any], Any]:
    return lambda k: getattr(k.applications, name)(**{**_SMALL, **options})


def _of_module(build: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def built(_: Any) -> Any:
        from tf_keras.src import applications

        return build(applications)

    return built


def _with_one_repetition(module: str, name: str, **options: Any) -> Callable[[Any], Any]:
    """The model of a module whose loops repeat blocks a fixed number of times, with each block once."""

    def built(k: Any) -> Any:
        import importlib

        source = importlib.import_module(f"tf_keras.src.applications.{module}")
        source.range = lambda *limits: range(*limits)[:1]  # type: ignore[attr-defined]
        return getattr(k.applications, name)(**_OPTIONS, **options)

    return built


class _Narrow:
    """The layers that a module of `keras.applications` uses, with an eighth of the filters."""

    def __init__(self, layers: Any) -> None:
        self._layers = layers

    def __getattr__(self, name: str) -> Any:
        made = getattr(self._layers, name)
        if name not in {"Conv2D", "SeparableConv2D"}:
            return made
        return lambda filters, *args, **options: made(max(4, filters // 8), *args, **options)


def _narrow(module: str, build: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def built(k: Any) -> Any:
        import importlib

        source: Any = importlib.import_module(f"tf_keras.src.applications.{module}")
        if not isinstance(source.layers, _Narrow):
            source.layers = _Narrow(source.layers)
        return build(k)

    return built


def _resnet(preactivated: bool) -> Callable[[Any], Any]:
    def built(_: Any) -> Any:
        from tf_keras.src.applications import resnet

        stack = resnet.stack2 if preactivated else resnet.stack1
        return resnet.ResNet(lambda x: stack(x, 8, 2, name="stack"), preactivated, True, **_SMALL)

    return built


_NASNET = {"penultimate_filters": 96, "num_blocks": 1, "stem_block_filters": 4, "skip_reduction": False}
_STAGES = [{"input_filters": width, "num_repeats": 1} for width in (8, 16)]
_BUILT: dict[str, Callable[[Any], Any]] = {
    "ConvNeXt": _of_module(lambda m: m.convnext.ConvNeXt([1, 1, 1, 1], [8, 8, 16, 16], **_SMALL)),
    "DenseNet": _of_module(lambda m: m.densenet.DenseNet([1, 2, 1, 1], **_SMALL)),
    "EfficientNet": _of_module(lambda m: m.efficientnet.EfficientNet(0.2, 0.2, 32, **_SMALL)),
    "EfficientNetV2": _of_module(
        lambda m: m.efficientnet_v2.EfficientNetV2(0.2, 0.2, 32, model_name="efficientnetv2-b0", **_SMALL)
    ),
    "InceptionResNetV2": _with_one_repetition("inception_resnet_v2", "InceptionResNetV2", input_shape=(75, 75, 3)),
    "InceptionV3": _narrow("inception_v3", _named("InceptionV3", input_shape=(75, 75, 3))),
    "MobileNet": _named("MobileNet", alpha=0.25),
    "MobileNetV2": _named("MobileNetV2", alpha=0.35),
    "MobileNetV3Small": _named("MobileNetV3Small", alpha=0.75),
    "MobileNetV3Large": _named("MobileNetV3Large", alpha=0.75),
    "MobileNetV3Minimalistic": _named("MobileNetV3Small", alpha=0.75, minimalistic=True),
    "NASNet": _of_module(lambda m: m.nasnet.NASNet((32, 32, 3), filter_multiplier=2, **_NASNET, **_OPTIONS)),
    "RegNetX": _of_module(lambda m: m.regnet.RegNet([1, 1, 2, 1], [8, 8, 16, 16], 8, "X", 32, **_SMALL)),
    "RegNetY": _of_module(lambda m: m.regnet.RegNet([1, 1, 2, 1], [8, 8, 16, 16], 8, "Y", 32, **_SMALL)),
    "ResNet": _resnet(preactivated=False),
    "ResNetV2": _resnet(preactivated=True),
    "ResNetRS": _of_module(lambda m: m.resnet_rs.ResNetRS(50, block_args=_STAGES, **_SMALL)),
    "VGG": _narrow(
        "vgg16",
        lambda k: k.applications.VGG16(include_top=False, input_shape=(32, 32, 3), weights=None, pooling="avg"),
    ),
    "Xception": _narrow("xception", _with_one_repetition("xception", "Xception", input_shape=(71, 71, 3))),
}
MODELS = tuple(ZooModel(name, "keras.applications", build, high=255.0, examples=4) for name, build in _BUILT.items())
