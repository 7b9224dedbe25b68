"""The plane that is always there: one table `inet vallum`, complete for every rule of NetworkPolicy v1.

`render` lays Tables out as nft text, `change` finds the difference of two programs, `plane` sends it.
"""
