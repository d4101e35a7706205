"""Why one callback runs before another: from declarations to one order, or to the reasons why there is none."""
