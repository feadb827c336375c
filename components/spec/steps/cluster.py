"""The step `cluster`: what a pipeline file can say about weight clustering. Needs neither TensorFlow nor TFX."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from components.core.values import FrozenModel
from components.spec.steps.fine_tuning import FineTuning, WeightInvariants
from components.spec.steps.layer_patterns import LayerPattern

# So many values have int8 weights at most, of which the least is not used.
MAX_CLUSTERS = 255
NumClusters = Annotated[int, Field(ge=2, le=MAX_CLUSTERS)]
Initialization = Literal["linear", "random", "density", "kmeans++"]


class LayerNumClusters(FrozenModel):
    """Another number of values in some layers. A later entry goes before an earlier one.

    Attributes:
        layers: Names or globs of layers.
        num_clusters: Of each of them.
    """

    layers: Annotated[tuple[LayerPattern, ...], Field(min_length=1)]
    num_clusters: NumClusters


class ClusterStep(FineTuning):
    """Weights that share a few values, which are trained on (Han et al. 2016, arXiv:1510.00149, section 3).

    Behind a step `prune` zero stays one of the values, and what was zero stays it.

    Attributes:
        num_clusters: Number of different values of each kernel, zero included.
        initialization: Where the values start from: evenly between the least and the greatest weight, at random there,
            evenly among the weights by their number, or k-means++ (Arthur and Vassilvitskii 2007).
        layers: Names or globs of the layers to cluster; none means all that have kernels, but depthwise ones.
        except_layers: Names or globs of layers that are not; in the file `except`.
        targets: Layers with a number of their own.
    """

    # `except` is a word of Python's.
    model_config = ConfigDict(serialize_by_alias=True)

    shell = "components.cluster.component:Clusterer"
    preview = "components.cluster.clustering:preview"
    depends_on = frozenset({"invariants"})

    kind: Literal["cluster"]
    num_clusters: NumClusters = 16
    initialization: Initialization = "linear"
    layers: tuple[LayerPattern, ...] = ()
    except_layers: tuple[LayerPattern, ...] = Field(default=(), alias="except")
    targets: tuple[LayerNumClusters, ...] = ()

    def establishes(self) -> WeightInvariants:
        """Shared values, which later steps keep."""
        return WeightInvariants(num_clusters=self.largest_num_clusters)

    @property
    def largest_num_clusters(self) -> int:
        """The largest number of values that a kernel of the model may have."""
        return max([self.num_clusters, *(target.num_clusters for target in self.targets)])
