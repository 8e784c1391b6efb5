"""Kinds of statements that the programs do not hold."""

LEFT_OUT: frozenset[str] = frozenset(
    """
    reentrant_data_write reentrant_vmap variable legacy_constructor shallow_copy detached_then_subclass
    made_subclass subclass_detached_later written_through_data written_through_data_slice written_through_detached
    numpy_filled float_of item_worked_on keyword_alpha keyword_max keyword_weight keyword_value keyword_slope
    numpy_scalar numpy_under_no_grad dlpack saved_and_loaded thread_detaches thread_without_gradients
    pool_without_gradients thread_item vmap_detaches vmap_rounds func_grad_of_detached func_grad_without_gradients
    in_a_thread func_grad jvp vjp vmap subclass subclass_left subclass_through_a_layer subclass_with_its_own_dispatch
    grad_and_value vmap_of_two vmap_of_grad inner_step jacobian thread thread_pool thread_mapped
    thread_does_not_inherit_no_grad four_bit_in_thread double_gradient forward_mode functional gradient_without_graph
    """.split()
)
