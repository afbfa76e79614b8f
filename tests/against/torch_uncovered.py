"""PyTorch's names without a counterpart here, by the reason: with those covered, all of `op_db`."""

from __future__ import annotations

REASONS: dict[str, str] = {
    "internals, whose meaning has a public name that is covered": """
        _softmax_backward_data native_group_norm native_layer_norm native_batch_norm
        _native_batch_norm_legit _batch_norm_with_update max_pool2d_with_indices_backward
        torch.ops.aten._flash_attention_forward torch.ops.aten._efficient_attention_forward
        nn.functional.batch_norm.without_cudnn
        _unsafe_masked_index _unsafe_masked_index_put_accumulate _chunk_cat native_dropout_backward
        _segment_reduce.lengths _segment_reduce.offsets bmm.triton_optimized""",
    "kernels that are written as CUDA text": """
        jiterator_unary jiterator_binary jiterator_4inputs_with_extra_args
        jiterator_binary_return_by_ref jiterator_2inputs_2outputs""",
    "the memory of an array: strides and storage are not seen here": """
        as_strided.partial_views as_strided_scatter resize_ resize_as_ new_empty_strided
        empty_strided empty_permuted""",
    "sparse arrays": "sparse.sampled_addmm sparse.mm.reduce to_sparse",
    "dtypes that are not here (float8, half complex)": """
        torch._scaled_mm_v2 torch._scaled_mm chalf""",
    "integers only, with no derivative": "lcm gcd",
    "the bits of a number": "hash_tensor",
    "the parts of LAPACK's factorisations": """
        geqrf ormqr linalg.ldl_factor linalg.ldl_factor_ex linalg.ldl_solve""",
    "random by more than a law of numbers": """
        svd_lowrank pca_lowrank nn.functional.fractional_max_pool2d
        nn.functional.fractional_max_pool3d nn.functional.multi_head_attention_forward""",
    "a result of a size that is given and filled up": "nonzero_static",
    "not there yet": "stft istft mode histogramdd _upsample_bilinear2d_aa",
}

UNCOVERED = {name: reason for reason, names in REASONS.items() for name in names.split()}
