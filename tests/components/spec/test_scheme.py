from components.spec.scheme import SCHEMES


def test_finer_schemes_exist_and_have_more_bits() -> None:
    finer_activations = {kind: scheme.finer_activations for kind, scheme in SCHEMES.items() if scheme.finer_activations}
    finer_weights = {kind: scheme.finer_weights for kind, scheme in SCHEMES.items() if scheme.finer_weights}
    assert finer_activations and finer_weights
    for kind, finer in finer_activations.items():
        assert SCHEMES[finer].activation_bits > SCHEMES[kind].activation_bits
        assert SCHEMES[finer].weight_bits == SCHEMES[kind].weight_bits
    for kind, finer in finer_weights.items():
        assert SCHEMES[finer].weight_bits > SCHEMES[kind].weight_bits


def test_recipes_of_init_have_names_of_their_own() -> None:
    names = {kind: scheme.recipe_name for kind, scheme in SCHEMES.items() if scheme.recipe_name}
    assert names == {"dynamic_wi8_afp32": "dynamic", "static_wi8_ai8": "int8", "static_wi8_ai16": "int16x8"}
