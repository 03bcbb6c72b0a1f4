"""From studies to cells: the product of each grid, digested into paths, with what each cell needs and costs."""
