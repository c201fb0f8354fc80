"""Names of classes and files as nobody should trust them."""

CLASSES = ["<svg onload=document.title='owned'>", "<img src=x onerror=document.title='owned'>", "$x$", "a|b", "**bold** _i_ [l](javascript:alert(1))",
           "`code` \\frac{1}{2}", "=1+1", "{{ 7*7 }} &amp;", "森林", "غابة", "n" * 120, "👩\u200d🌾 café",
           "\x1b[31mred\x1b[2J\nline \u202eback"]
FILES = ["1.png", "$2$ | `x`.png", "<b>3.png", "=4.png", "5\n6.png", "\x1b[31m6.png", *(f"{number}.png" for number in range(7, 13))]
