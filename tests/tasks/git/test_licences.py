import pytest

from gapo_cli.tasks.git.licences import UNRECOGNISED, combined_guess, spdx_guess

MIT = """Copyright (c) 2020 A

Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated
documentation files (the "Software"), to deal in the Software without restriction, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all copies.
"""
APACHE = "                                 Apache License\n                           Version 2.0, January 2004\n"
BSD = "Redistribution and use in source and binary forms, with or without\nmodification, are permitted\n"


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (MIT, "MIT"),
        (APACHE, "Apache-2.0"),
        (BSD, "BSD-2-Clause"),
        (BSD + "Neither the name of A may be used to endorse or promote products\n", "BSD-3-Clause"),
        ("GNU GENERAL PUBLIC LICENSE\n   Version 3, 29 June 2007\n", "GPL-3.0"),
        ("GNU GENERAL PUBLIC LICENSE\n   Version 2, June 1991\n", "GPL-2.0"),
        ("GNU LESSER GENERAL PUBLIC LICENSE\n Version 2.1, February 1999\n", "LGPL-2.1"),
        ("GNU AFFERO GENERAL PUBLIC LICENSE\n Version 3, 19 November 2007\n", "AGPL-3.0"),
        # the MPL's text names the GNU licences among its secondary ones
        ("Mozilla Public License Version 2.0\n\n... the GNU Lesser General Public License, Version 2.1", "MPL-2.0"),
        ("This is free and unencumbered software released into the public domain.\n", "Unlicense"),
        ("// SPDX-License-Identifier: Apache-2.0 OR MIT\n", "Apache-2.0 OR MIT"),
        ("All rights reserved.\n", UNRECOGNISED),
        ("", UNRECOGNISED),
    ],
)  # fmt: skip
def test_phrases_tell_licences_apart(text, name):
    assert spdx_guess(text) == name


def test_two_licence_files_are_a_choice_and_other_files_do_not_count():
    assert (
        combined_guess({"LICENSE-MIT": MIT, "LICENSE-APACHE": APACHE, "COPYING": "see the other files", "README": BSD})
        == "Apache-2.0 OR MIT"
    )
    assert combined_guess({"licence.txt": "All rights reserved."}) == UNRECOGNISED
    assert combined_guess({"LICENSE.md": MIT, "UNLICENSE": MIT}) == "MIT"
    assert combined_guess({"README.md": MIT, "license_checker.py": MIT, "setup.py": MIT}) is None


@pytest.mark.parametrize(
    "name",
    [
        "LICENSE",
        "licence.md",
        "COPYING",
        "COPYING.LESSER",
        "LICENSE-APACHE-2.0",
        "LICENSE_1_0.txt",
        "MIT-LICENSE.txt",
        "UNLICENSE",
    ],
)
def test_licence_files_are_known_by_their_usual_names(name):
    assert combined_guess({name: MIT}) == "MIT"
