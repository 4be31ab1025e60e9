// The page of `regard serve`. This script stands in the head: the theme is set before anything is painted.

import { settings } from "./settings";
import { applyTheme, start } from "./shell";

applyTheme(settings.theme);
document.addEventListener("DOMContentLoaded", start);
