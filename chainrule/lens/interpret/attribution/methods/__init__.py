"""Each method is a file of its name, with `-` for `_`, and in it `attribution(asked, …)`."""
