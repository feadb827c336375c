"""The step `cluster`: what a pipeline file can say about weight clustering. Needs neither TensorFlow nor TFX."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from components.layer_patterns import LayerPattern
from components.training_spec import FineTuning
from components.values import Value

# So many values have int8 weights at most, of which the least is not used.
MOST_CENTROIDS = 255
Centroids = Annotated[int, Field(ge=2, le=MOST_CENTROIDS)]
Initialization = Literal["linear", "random", "density", "kmeans++"]


class LayerCentroids(Value):
    """Another number of values in some layers. A later entry goes before an earlier one.

    Attributes:
        layers: Names or globs of layers.
        centroids: Of each of them.
    """

    layers: Annotated[tuple[LayerPattern, ...], Field(min_length=1)]
    centroids: Centroids


class ClusterStep(FineTuning):
    """Weights that share a few values, which are trained on (Han et al. 2016, arXiv:1510.00149, section 3).

    Behind a step `prune` zero stays one of the values, and what was zero stays it.

    Attributes:
        centroids: Number of different values of each kernel, zero included.
        initialization: Where the values start from: evenly between the least and the greatest weight, at random there,
            evenly among the weights by their number, or k-means++ (Arthur and Vassilvitskii 2007).
        layers: Names or globs of the layers to cluster; none means all that have kernels, but depthwise ones.
        except_layers: Names or globs of layers that are not; in the file `except`.
        targets: Layers with a number of their own.
    """

    # `except` is a word of Python's.
    model_config = ConfigDict(serialize_by_alias=True)

    kind: Literal["cluster"]
    centroids: Centroids = 16
    initialization: Initialization = "linear"
    layers: tuple[LayerPattern, ...] = ()
    except_layers: tuple[LayerPattern, ...] = Field(default=(), alias="except")
    targets: tuple[LayerCentroids, ...] = ()

    @property
    def most_centroids(self) -> int:
        """The largest number of values that a kernel of the model may have."""
        return max([self.centroids, *(target.centroids for target in self.targets)])
