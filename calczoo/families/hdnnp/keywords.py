"""The keywords of input.nn: which are used, which change nothing in a prediction, and which are refused."""

from __future__ import annotations

ALIASES = {
    "symfunction": "symfunction_short",
    "symfunction_elec": "symfunction_electrostatic",
    "symfunction_charge": "symfunction_electrostatic",
    "global_symfunction_short_atomic": "global_symfunction_short",
    "global_symfunction_elec": "global_symfunction_electrostatic",
    "global_hidden_layers_charge": "global_hidden_layers_electrostatic",
    "global_nodes_charge": "global_nodes_electrostatic",
    "global_activation_charge": "global_activation_electrostatic",
    "global_hidden_layers_elec": "global_hidden_layers_electrostatic",
    "global_nodes_elec": "global_nodes_electrostatic",
    "global_activation_elec": "global_activation_electrostatic",
    "global_hidden_layers_short_atomic": "global_hidden_layers_short",
    "global_nodes_short_atomic": "global_nodes_short",
    "global_activation_short_atomic": "global_activation_short",
    "scale_min_short_atomic": "scale_min_short",
    "scale_max_short_atomic": "scale_max_short",
    "nnp_gen": "nnp_generation",
    "nnp_type": "nnp_generation",
    "nn_type": "nnp_generation",
    "nn_type_elec": "electrostatic_type",
}
"""Other names of keywords, of RuNNer or of other versions of n2p2."""

_TOPOLOGY = tuple(
    f"{scope}_{what}_{net}"
    for scope in ("global", "element")
    for what in ("hidden_layers", "nodes", "activation", "symfunction")
    for net in ("short", "electrostatic")
)
REPEATED = frozenset({
    "symfunction_short", "symfunction_electrostatic", "atom_energy", "fixed_gausswidth", "initial_hardness",
    "global_symfunction_short", "global_symfunction_electrostatic",
    *(k for k in _TOPOLOGY if k.startswith("element_")),
})  # fmt: skip
"""Keywords that may come more than once."""

EWALD = frozenset({
    "ewald_prec", "ewald_truncation_error_method", "ewald_alpha", "ewald_cutoff", "ewald_kmax", "kspace_solver",
    "enforce_totcharge", "use_gausswidth",
})  # fmt: skip
"""Kept as they are: sums over periodic images do not depend on them here."""

UNITLESS = frozenset({"enforce_totcharge", "use_gausswidth", "kspace_solver"})
"""Those among them that stay the same in other units; the first decides about the charges of generation 3."""

USED = frozenset({
    "number_of_elements", "elements", "atom_energy", "cutoff_type", "symfunction_short", "symfunction_electrostatic",
    "scale_symmetry_functions", "scale_symmetry_functions_sigma", "center_symmetry_functions", "scale_min_short",
    "scale_max_short", "normalize_nodes", "mean_energy", "conv_energy", "conv_length", "conv_charge",
    "nnp_generation", "use_electrostatics", "electrostatic_type", "fixed_gausswidth", "screen_electrostatics",
    "four_pi_epsilon", "nn_type_short", "scale_min_elec", "scale_max_elec", *_TOPOLOGY, *EWALD,
})  # fmt: skip
"""Keywords that a prediction depends on."""

REFUSED = {
    "use_vdw": "dispersion of RuNNer added to the network",
    "vdw_type": "dispersion of RuNNer added to the network",
    "use_nntb": "a tight-binding network",
    "nn_type_nntb": "a tight-binding network",
    "pairsymfunction_short": "a network of pairs",
    "global_pairsymfunction_short": "a network of pairs",
    "element_pairsymfunction_short": "a network of pairs",
    "use_spins": "a network of magnetic moments",
    "use_magnetic_moments": "a network of magnetic moments",
    "read_unformatted": "parameters in binary files",
}
"""Keywords of potentials that are not of this family, and what they are."""

_HARMLESS = frozenset({
    "epochs", "updater_type", "parallel_mode", "jacobian_mode", "update_strategy", "main_error_metric",
    "force_weight", "runner_mode", "bond_threshold", "fitting_unit", "points_in_memory", "growth_mode",
    "joint_energy_force_update", "initialization_only", "biasweights_min", "biasweights_max", "silent_mode",
    "prepare_md", "pstring", "initial_hardness", "normalize_data_set", "debug_mode", "find_contradictions",
    "use_short_nn", "use_short_forces", "remove_atom_energies", "use_atom_energies", "use_atom_charges",
    "use_charge_constraint", "use_damping", "use_noisematrix", "use_omp_mkl", "use_ipi", "repeated_energy_update",
    "restrict_weights", "dynamic_force_grouping", "do_pair_ipi", "do_hessian", "ignore_forces", "ion_forces_only",
    "use_hessian", "total_charge_error_threshold", "committee_mode", "committee_size", "committee_data",
    "enable_on_the_fly_input", "reset_kalman", "remove_vdw_energies", "weight_constraint", "weighte_constraint",
    "write_unformatted", "vdw_screening", "vdw_coefficient", "vdw_cutoff", "vdw_radius",
})  # fmt: skip
_HARMLESS_BEGINNINGS = (
    "kalman_", "gradient_", "write_", "print_", "task_batch_size", "rmse_threshold", "short_energy_", "short_force_",
    "selection_mode", "analyze_", "optmode_", "test_fraction", "random_", "noise_", "weights_", "weightse_", "use_old_",
    "nguyen_widrow_", "precondition_", "fix_weights", "fixed_short_energy_", "fixed_short_force_", "energy_", "force_",
    "forces_", "charge_", "max_", "md_", "calculate_", "memorize_", "mix_", "detect_", "data_clustering", "damp_",
    "check_", "environment_", "saturation_", "save_", "separate_", "shuffle_", "sort_", "worst_", "watch_",
    "read_kalman", "regularize_", "use_systematic_", "enforce_max_", "update_single_", "scale_weights", "steepest_",
    "finalforce_", "elec_", "fixed_charge", "average_", "cell_", "constraint_", "final_", "background_", "cg_",
    "lbfgs_", "mode_", "nb_", "stop_", "use_single_", "short_",
)  # fmt: skip


def harmless(key: str) -> bool:
    """True for keywords of training and of output, which say nothing about a prediction."""
    return key in _HARMLESS or key.startswith(_HARMLESS_BEGINNINGS)
