//! Aligned columns, as docker prints them.
//!
//! It must not know what the columns mean. The measures are docker's: three spaces between columns and no
//! column but the last narrower than ten characters with them (observed in docker 28 `images`). Trailing
//! spaces are dropped, and every cell is escaped, so no name can forge a row.

use imgpack::text;

/// Spaces between two columns.
const GAP: usize = 3;
/// Least width of a column in characters, the gap included.
const LEAST: usize = 10;

/// A table under upper-case headers; every line ends with a newline.
pub(crate) fn with_header(header: &[&str], rows: &[Vec<String>]) -> String {
    let mut all = Vec::with_capacity(rows.len() + 1);
    all.push(header.iter().map(|name| name.to_uppercase()).collect());
    all.extend_from_slice(rows);
    render(&all)
}

/// A table of the rows as they are, of which the first may be a header; rows may differ in length.
pub(crate) fn render(rows: &[Vec<String>]) -> String {
    let cells: Vec<Vec<_>> =
        rows.iter().map(|row| row.iter().map(|cell| text::escape_long(cell)).collect()).collect();
    let mut widths = vec![LEAST; cells.iter().map(Vec::len).max().unwrap_or_default()];
    for row in &cells {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count() + GAP);
        }
    }
    let mut out = String::new();
    for row in &cells {
        let start = out.len();
        for (width, cell) in widths.iter().zip(row) {
            out.push_str(cell);
            out.extend(std::iter::repeat_n(' ', width - cell.chars().count()));
        }
        out.truncate(start + out[start..].trim_end_matches(' ').len());
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(rows: &[&[&str]]) -> Vec<Vec<String>> {
        rows.iter().map(|row| row.iter().map(ToString::to_string).collect()).collect()
    }

    #[test]
    fn columns_align_as_in_docker_images() {
        let table = with_header(
            &["repository", "tag", "image id", "created", "size"],
            &rows(&[
                &["busybox", "latest", "0123456789ab", "3 years ago", "4.26MB"],
                &["b", "1", "0123456789ab", "3 years ago", "4.26MB"],
            ]),
        );
        assert_eq!(
            table,
            "REPOSITORY   TAG       IMAGE ID       CREATED       SIZE\n\
             busybox      latest    0123456789ab   3 years ago   4.26MB\n\
             b            1         0123456789ab   3 years ago   4.26MB\n"
        );
    }

    #[test]
    fn no_line_ends_in_spaces() {
        assert_eq!(render(&rows(&[&["A", "B"], &["a", ""], &["b"], &[]])), "A         B\na\nb\n\n");
        assert_eq!(render(&[]), "");
    }

    #[test]
    fn a_cell_cannot_forge_a_row_or_paint_the_terminal() {
        assert_eq!(render(&rows(&[&["a\nb", "\x1b[2J"]])), "a\\x0ab    \\x1b[2J\n");
    }

    #[test]
    fn widths_are_counted_in_characters() {
        let table = render(&rows(&[&["ééééééééé", "x"], &["abcdefghi", "y"]]));
        assert_eq!(table, "ééééééééé   x\nabcdefghi   y\n");
    }
}
