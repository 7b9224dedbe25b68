"""The smallest whole plane: no kernel, the Ruleset itself judged rule by rule. Test double and template."""
