"""All edit families by name."""

from __future__ import annotations

from gapo_cli.tasks.families import Family, calls, idioms, names, statements, types


def all_families() -> dict[str, Family]:
    """Name → family, in a fixed order."""
    return {
        "rename_variable": names.rename_variable,
        "rename_attribute": names.rename_attribute,
        "rename_function": names.rename_function,
        "add_argument": calls.add_argument,
        "remove_argument": calls.remove_argument,
        "change_method": calls.change_method,
        "print_to_logging": calls.print_to_logging,
        "raise_other_exception": calls.raise_other_exception,
        "wrap_in_call": calls.wrap_in_call,
        "subscript_to_get": idioms.subscript_to_get,
        "compare_with_none": idioms.compare_with_none,
        "not_in": idioms.not_in,
        "double_quotes": idioms.double_quotes,
        "percent_to_fstring": idioms.percent_to_fstring,
        "change_literal": idioms.change_literal,
        "plain_super": idioms.plain_super,
        "annotate_return": types.annotate_return,
        "annotate_parameter": types.annotate_parameter,
        "name_the_exception": statements.name_the_exception,
        "remove_debug_print": statements.remove_debug_print,
        "add_decorator": statements.add_decorator,
        "log_function_entry": statements.log_function_entry,
    }
